/* gateway - the OpenAI protocol, spoken to the data plane with an API key. It is another origin than
 * the console, so what is read here is what CORS exposes. */
import { sseData } from "./sse";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}
export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  max_completion_tokens: number;
  temperature: number;
  response_format?: { type: "json_object" };
  stream: true;
  stream_options: { include_usage: true };
}
export interface ChatUsage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number } | null;
}
export type ChatEvent =
  | { kind: "open"; requestId: string | null; degraded: string | null }
  | { kind: "text"; text: string }
  | { kind: "finish"; reason: string }
  | { kind: "usage"; usage: ChatUsage };

export class GatewayError extends Error {
  constructor(
    message: string,
    readonly status: number /* 0: no answer at all */,
    readonly code: string | null,
    readonly requestId: string | null,
    readonly retryAfterMs: number | null = null,
    readonly param: string | null = null /* which field of the request is at fault */,
  ) {
    super(message);
    this.name = "GatewayError";
  }
}

interface ErrorBody {
  error?: { message?: string; code?: string | null; param?: string | null };
}
interface Chunk extends ErrorBody {
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  usage?: ChatUsage | null;
}

function retryAfterMs(headers: Headers): number | null {
  const ms = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (ms > 0) return ms;
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  return seconds > 0 ? seconds * 1000 : null;
}

async function call(url: string, key: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, {
      ...init,
      credentials: "omit",
      headers: { ...init.headers, authorization: `Bearer ${key}` },
    });
  } catch (err) {
    if (init.signal?.aborted) throw err;
    throw new GatewayError(`No answer from the gateway at ${url}.`, 0, "unreachable", null);
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => ({}))) as ErrorBody;
  throw new GatewayError(
    body.error?.message ?? `The gateway answered ${response.status}.`,
    response.status,
    body.error?.code ?? null,
    response.headers.get("x-request-id"),
    retryAfterMs(response.headers),
    body.error?.param ?? null,
  );
}

/* Names of the models that this key may use. */
export async function listModels(base: string, key: string): Promise<string[]> {
  const response = await call(`${base}/models`, key, { method: "GET" });
  const body = (await response.json()) as { data: { id: string }[] };
  return body.data.map((model) => model.id);
}

/* One streamed chat answer. Throws GatewayError, or the abort of `signal`. */
export async function* streamChat(
  base: string,
  key: string,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const response = await call(`${base}/chat/completions`, key, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
    signal,
  });
  const requestId = response.headers.get("x-request-id");
  yield { kind: "open", requestId, degraded: response.headers.get("x-sluice-degraded") };
  if (!response.body) throw new GatewayError("The answer has no body.", 0, null, requestId);

  for await (const data of sseData(response.body)) {
    if (data === "[DONE]") return;
    const chunk = parseChunk(data, requestId);
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) yield { kind: "text", text: choice.delta.content };
    if (choice?.finish_reason) yield { kind: "finish", reason: choice.finish_reason };
    if (chunk.usage) yield { kind: "usage", usage: chunk.usage };
  }
  throw new GatewayError("The stream was cut before its end.", 0, "cut", requestId);
}

function parseChunk(data: string, requestId: string | null): Chunk {
  let chunk: Chunk;
  try {
    chunk = JSON.parse(data) as Chunk;
  } catch {
    throw new GatewayError("The stream sent something unreadable.", 0, "unreadable", requestId);
  }
  if (chunk.error)
    throw new GatewayError(
      chunk.error.message ?? "The answer failed.",
      0,
      chunk.error.code ?? null,
      requestId,
    );
  return chunk;
}
