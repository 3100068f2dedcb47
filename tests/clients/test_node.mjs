// The OpenAI SDK for Node against a running system. Usage: node --test test_node.mjs, with
// SLUICE_DEMO naming the running system's demo.json.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import OpenAI from "openai";

const demo = JSON.parse(readFileSync(process.env.SLUICE_DEMO, "utf8"));
const connect = (apiKey = demo.api_key) => new OpenAI({ baseURL: demo.openai_base_url, apiKey, maxRetries: 0, timeout: 120000 });
const client = connect();
const ask = (more = {}, c = client) =>
  c.chat.completions.create({ model: demo.model, messages: [{ role: "user", content: "Say hello." }], max_tokens: 16, temperature: 0, ...more });

async function operator(method, path, body) {
  const r = await fetch(`${demo.console.replace(/\/$/, "")}/api/v1${path}`, {
    method, body: body && JSON.stringify(body),
    headers: { authorization: `Bearer ${demo.operator.token}`, "content-type": "application/json" },
  });
  return [r.status, await r.json()];
}

test("models are listed and read", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.ok(ids.includes(demo.model));
  assert.equal((await client.models.retrieve(demo.model)).id, demo.model);
  await assert.rejects(client.models.retrieve("no/such model"), OpenAI.NotFoundError);
});

test("a stream says the same as the whole answer and ends with usage", async () => {
  const whole = await ask();
  let text = "", usage = null, last = null;
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
    last = chunk;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(last.choices, []);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
  assert.equal(usage.prompt_tokens, whole.usage.prompt_tokens);
});

test("errors are typed", async () => {
  await assert.rejects(ask({}, connect("sk-nonsense")), OpenAI.AuthenticationError);
  await assert.rejects(ask({ model: "no-such-model" }), OpenAI.NotFoundError);
  await assert.rejects(ask({ temperature: 3 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
});

test("a rate limit is typed and says when to come back", async () => {
  const [, users] = await operator("GET", "/users?limit=200");
  const user = users.data.find((u) => u.email === demo.user.email);
  const [made, key] = await operator("POST", "/keys", { name: "node", user_id: user.id });
  assert.equal(made, 201);
  const [limited] = await operator("POST", "/limits", { scope: "key", subject_id: key.id, requests_per_min: 1 });
  assert.equal(limited, 201);
  await new Promise((done) => setTimeout(done, 1500)); // the limit row travels by the change feed
  const c = connect(key.key);
  await ask({ max_tokens: 1 }, c);
  await assert.rejects(ask({ max_tokens: 1 }, c), (e) => {
    assert.ok(e instanceof OpenAI.RateLimitError);
    const wait = Number(e.headers.get ? e.headers.get("retry-after") : e.headers["retry-after"]);
    return wait > 0 && wait <= 61;
  });
});

test("an aborted stream is metered", async () => {
  const { data: stream, response } = await ask({ stream: true, max_tokens: 400, messages: [{ role: "user", content: "Tell me a long story." }] }).withResponse();
  const id = response.headers.get("x-request-id");
  let n = 0;
  for await (const chunk of stream) if (chunk && ++n === 5) break; // leaving the loop aborts the request
  for (let i = 0; i < 75; i++) {
    const [, page] = await operator("GET", "/usage/requests?limit=50");
    const row = page.data.find((r) => r.id === id);
    if (row) {
      assert.equal(row.outcome, "aborted");
      assert.ok(row.output_tokens >= 3 && row.output_tokens < 400, JSON.stringify(row));
      return;
    }
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.fail("no usage row");
});
