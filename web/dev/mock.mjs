/* mock - enough of the control plane and the gateway to look at pages without either. For work on
 * the pages only: no test uses it. It keeps everything in memory and forgets it.
 *
 *   node dev/mock.mjs [console port] [gateway port]     (8080 and 8000)
 *
 * It also serves web/dist, under the same content security policy as the control plane. Log in as
 * user@demo.test or operator@demo.test with the password "password". What a message says steers the
 * answer: "fail 429", "fail 503", "cut", "slow". */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const [apiPort = 8080, gatewayPort = 8000] = process.argv.slice(2).map(Number);
const GATEWAY = `http://127.0.0.1:${gatewayPort}`;
const DIST = join(dirname(dirname(fileURLToPath(import.meta.url))), "dist");
const now = () => new Date().toISOString();
const id = (prefix) => prefix + randomBytes(13).toString("hex");
const row = (more) => ({ id: id("x_"), created_at: now(), version: 1, ...more });

const org = row({ id: "org_demo", name: "Demo", status: "active" });
const users = [
  row({
    id: "usr_demo",
    org_id: org.id,
    email: "user@demo.test",
    name: "Demo User",
    role: "member",
  }),
  row({ id: "usr_op", org_id: null, email: "operator@demo.test", name: "", role: "operator" }),
].map((u) => ({ ...u, status: "active", last_login_at: null }));
const deployment = (name, more) =>
  row({
    id: `dep_${name}`,
    name,
    description: "",
    model_id: "mdl_1",
    endpoint_id: "end_1",
    served_name: null,
    engine: "integrated",
    replicas: 1,
    context_length: 0,
    max_output: 2048,
    state: "running",
    state_reason: "",
    progress: 100,
    replica_list: [{ state: "running" }],
    ...more,
  });
const tables = {
  orgs: [org],
  users,
  keys: [],
  models: [
    row({ id: "mdl_1", name: "smollm2-135m-instruct" }),
    row({ id: "mdl_2", name: "qwen3-32b" }),
  ],
  endpoints: [row({ id: "end_1", name: "local", hostname: "" })],
  deployments: [
    deployment("smollm2"),
    deployment("qwen3", {
      model_id: "mdl_2",
      engine: "dynamo",
      replicas: 2,
      state: "loading",
      progress: 40,
      state_reason: "Downloading weights, 12 of 31 files",
      replica_list: [],
    }),
  ],
};
const usage = [];
const CENT = { input: 150_000n, output: 600_000n }; /* pico-units for a token */
function decimal(pico) {
  const s = pico.toString().padStart(13, "0");
  return `${s.slice(0, -12)}.${s.slice(-12)}`
    .replace(/0+$/, "")
    .replace(/\.(\d?)$/, (_, d) => `.${d.padEnd(2, "0")}`);
}
function record(more) {
  const cost = BigInt(more.input_tokens) * CENT.input + BigInt(more.output_tokens) * CENT.output;
  usage.unshift({
    id: id("req_"),
    time: now(),
    org_id: org.id,
    user_id: "usr_demo",
    key_id: "key_1",
    deployment_id: "dep_smollm2",
    model: "smollm2-135m-instruct",
    route: "chat.completions",
    stream: true,
    outcome: "stop",
    http_status: 200,
    cached_tokens: 0,
    currency: "USD",
    ttft_ms: 84,
    duration_ms: 1650,
    source: "engine",
    degraded: "",
    pico: cost,
    cost: decimal(cost),
    ...more,
  });
}
const DAY = 86_400_000;
for (let i = 60; i > 0; i--)
  record({
    time: new Date(Date.now() - i * 0.11 * DAY).toISOString(),
    input_tokens: 40 + ((i * 37) % 900),
    cached_tokens: (i * 16) % 64,
    output_tokens: 20 + ((i * 53) % 400),
    deployment_id: i % 4 ? "dep_smollm2" : "dep_qwen3",
    outcome: ["stop", "length", "aborted", "stop"][i % 4],
  });

const sessions = new Map();
const send = (res, status, body, headers = {}) => {
  res.writeHead(status, { "content-type": "application/json", ...headers });
  res.end(
    body === undefined ? undefined : JSON.stringify(body, (k, v) => (k === "pico" ? undefined : v)),
  );
};
const fail = (res, status, code, message) =>
  send(res, status, { error: { code, message, field: null } });
async function bodyOf(req) {
  let text = "";
  for await (const part of req) text += part;
  return text ? JSON.parse(text) : {};
}
const sessionView = (s) => ({
  user: s.user,
  org: s.user.org_id ? org : null,
  csrf: s.csrf,
  openai_base_url: `${GATEWAY}/v1`,
});

async function api(req, res, url) {
  const cookie = /sluice_session=(\w+)/.exec(req.headers.cookie ?? "")?.[1];
  const session = sessions.get(cookie);
  const path = url.pathname.slice("/api/v1/".length).split("/");
  if (path[0] === "session" && req.method === "POST") {
    const { email, password } = await bodyOf(req);
    const user = users.find((u) => u.email === email);
    if (!user || password !== "password")
      return fail(res, 401, "unauthenticated", "wrong email or password");
    const token = id("");
    sessions.set(token, { user, csrf: id("") });
    return send(res, 200, sessionView(sessions.get(token)), {
      "set-cookie": `sluice_session=${token}; HttpOnly; SameSite=Strict; Path=/`,
    });
  }
  if (!session) return fail(res, 401, "unauthenticated", "log in first");
  if (req.method !== "GET" && req.headers["x-csrf-token"] !== session.csrf)
    return fail(res, 403, "forbidden", "the CSRF token is missing");
  if (path[0] === "session") {
    if (req.method === "GET") return send(res, 200, sessionView(session));
    sessions.delete(cookie);
    return send(res, 204);
  }
  if (path[0] === "usage") return usageApi(res, url, path);
  if (path[0] === "keys" && req.method === "POST") {
    const body = await bodyOf(req);
    const publicId = randomBytes(6).toString("hex");
    const key = row({
      id: id("key_"),
      org_id: org.id,
      user_id: session.user.id,
      description: "",
      status: "active",
      expires_at: null,
      last_used_at: null,
      public_id: publicId,
      ...body,
    });
    tables.keys.unshift(key);
    return send(res, 201, { ...key, key: `sk_${publicId}_${randomBytes(24).toString("hex")}` });
  }
  if (path[0] === "keys" && req.method === "PATCH") {
    const key = tables.keys.find((k) => k.id === path[1]);
    if (!key) return fail(res, 404, "not_found", "no such key");
    return send(res, 200, Object.assign(key, await bodyOf(req)));
  }
  if (path[0] === "keys" && req.method === "DELETE") {
    tables.keys = tables.keys.filter((k) => k.id !== path[1]);
    return send(res, 204);
  }
  if (!tables[path[0]]) return fail(res, 404, "not_found", "no such thing");
  return send(res, 200, { data: tables[path[0]], next: null });
}

function usageApi(res, url, path) {
  const q = url.searchParams;
  const rows = usage.filter(
    (u) =>
      (!q.get("start") || u.time >= q.get("start")) &&
      (!q.get("end") || u.time < q.get("end")) &&
      (!q.get("deployment_id") || u.deployment_id === q.get("deployment_id")),
  );
  if (path[2]) {
    const one = usage.find((u) => u.id === path[2]);
    return one ? send(res, 200, one) : fail(res, 404, "not_found", "no such request");
  }
  if (path[1] === "requests") {
    const from = q.get("after") ? rows.findIndex((u) => u.id === q.get("after")) + 1 : 0;
    const limit = Number(q.get("limit") ?? 50);
    const data = rows.slice(from, from + limit);
    return send(res, 200, { data, next: from + limit < rows.length ? data.at(-1).id : null });
  }
  const groups = new Map();
  const by = q.get("group_by");
  for (const u of rows) {
    const bucket = `${u.time.slice(0, q.get("bucket") === "hour" ? 13 : 10)}`;
    const value = by === "model" ? u.model : u[`${by}_id`];
    const at = `${bucket} ${value}`;
    const full = bucket.length === 13 ? `${bucket}:00:00Z` : `${bucket}T00:00:00Z`;
    const name = tables.deployments.find((d) => d.id === value)?.name ?? null;
    const names = by === "model" ? { model: value } : { [`${by}_id`]: value, [by]: name };
    const g = groups.get(at) ?? {
      bucket: full,
      ...names,
      currency: "USD",
      requests: 0,
      input_tokens: 0,
      cached_tokens: 0,
      output_tokens: 0,
      pico: 0n,
    };
    g.requests++;
    for (const k of ["input_tokens", "cached_tokens", "output_tokens"]) g[k] += u[k];
    g.pico += u.pico;
    groups.set(at, g);
  }
  send(res, 200, {
    data: [...groups.values()].map((g) => ({ ...g, cost: decimal(g.pico) })),
    next: null,
  });
}

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
async function file(res, url) {
  const name = extname(url.pathname) ? url.pathname : "/index.html";
  const bytes = await readFile(join(DIST, name)).catch(() => null);
  if (!bytes) return fail(res, 404, "not_found", "no such file");
  res.writeHead(200, {
    "content-type": TYPES[extname(name)] ?? "application/octet-stream",
    "content-security-policy": `default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; font-src 'self'; connect-src 'self' ${GATEWAY}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`,
  });
  res.end(bytes);
}

createServer((req, res) => {
  const url = new URL(req.url, "http://localhost");
  const work = url.pathname.startsWith("/api/") ? api(req, res, url) : file(res, url);
  Promise.resolve(work).catch((err) => fail(res, 500, "internal", String(err)));
}).listen(apiPort, "127.0.0.1");

const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "authorization, content-type",
  "access-control-expose-headers": "x-request-id, retry-after, retry-after-ms",
};
const refuse = (res, status, code, message, headers = {}) =>
  send(
    res,
    status,
    { error: { message, type: "invalid_request_error", param: headers.param ?? null, code } },
    {
      ...CORS,
      "x-request-id": id("req_"),
      ...headers.http,
    },
  );

createServer(async (req, res) => {
  if (req.method === "OPTIONS") return res.writeHead(204, CORS).end();
  if (!/^Bearer sk_/.test(req.headers.authorization ?? ""))
    return refuse(res, 401, "invalid_api_key", "Incorrect API key provided.");
  if (req.url === "/v1/models")
    return send(
      res,
      200,
      {
        object: "list",
        data: tables.models.map((m) => ({
          id: m.name,
          object: "model",
          created: 0,
          owned_by: "x",
        })),
      },
      CORS,
    );
  const body = await bodyOf(req);
  const asked = body.messages.at(-1).content;
  if (body.response_format?.type === "json_object")
    return refuse(
      res,
      400,
      "unsupported_parameter",
      "This deployment does not support response_format json_object.",
      { param: "response_format" },
    );
  if (asked.includes("fail 429"))
    return refuse(
      res,
      429,
      "rate_limit_exceeded",
      "Rate limit reached for smollm2 in organization Demo on tokens per min (TPM): Limit 100, Used 90, Requested 40. Please try again in 6s.",
      { http: { "retry-after": "6" } },
    );
  if (asked.includes("fail 503"))
    return refuse(res, 503, "overloaded", "No free worker.", { http: { "retry-after": "2" } });
  const requestId = id("req_");
  res.writeHead(200, {
    ...CORS,
    "content-type": "text/event-stream; charset=utf-8",
    "x-request-id": requestId,
  });
  const event = (more) =>
    res.write(
      `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", usage: null, ...more })}\n\n`,
    );
  event({
    choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }],
  });
  const words =
    `You said: “${asked}”. ${"The Danube passes ten countries. The Rhine carries more ships than any other river in Europe. The Loire has no large dam on its lower course.\n\n".repeat(2)}`.split(
      /(?<= )/,
    );
  let n = 0;
  let open = true;
  res.on("close", () => (open = false));
  for (const word of words) {
    await sleep(asked.includes("slow") ? 200 : 16);
    if (!open || n === body.max_completion_tokens) break;
    if (asked.includes("cut") && n === 12) return res.destroy();
    event({ choices: [{ index: 0, delta: { content: word }, finish_reason: null }] });
    n++;
  }
  const finish = n < words.length ? "length" : "stop";
  record({
    id: requestId,
    input_tokens: 24,
    cached_tokens: 16,
    output_tokens: n,
    outcome: open ? finish : "aborted",
  });
  event({ choices: [{ index: 0, delta: {}, finish_reason: finish }] });
  event({
    choices: [],
    usage: {
      prompt_tokens: 40,
      completion_tokens: n,
      prompt_tokens_details: { cached_tokens: 16 },
    },
  });
  res.end("data: [DONE]\n\n");
}).listen(gatewayPort, "127.0.0.1");

console.log(`console http://127.0.0.1:${apiPort}  gateway ${GATEWAY}`);
