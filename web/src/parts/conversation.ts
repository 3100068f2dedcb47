/* conversation - the turns of the playground's talk and the answer that is being streamed.
 *
 *   waiting ──first text──▶ streaming ──end──▶ done
 *      │                        ├────stop────▶ stopped
 *      └──refused, cut──────────┴────────────▶ failed
 *
 * One answer at a time. It goes on while another page is shown. When it has ended, its row is
 * fetched from the ledger by the request's id: the tokens and the cost shown last are the billed
 * ones, also for a stopped answer. */
import {
  type ChatMessage,
  type ChatRequest,
  type ChatUsage,
  GatewayError,
  streamChat,
} from "../api/gateway";
import type { Usage } from "../api/types";
import { awaitUsage } from "../api/usage";
import { playgroundKey } from "./playground_key";
import { Store } from "./store";

export type TurnState = "waiting" | "streaming" | "done" | "stopped" | "failed";
export interface Turn {
  id: number;
  prompt: string;
  answer: string;
  state: TurnState;
  model: string;
  askedForJson: boolean;
  ttftMs: number | null;
  lastMs: number | null; /* when the newest text came, after the send */
  deltas: number;
  usage: ChatUsage | null;
  finish: string | null;
  requestId: string | null;
  degraded: string | null;
  error: Error | null;
  failedAt: number;
  row: Usage | "awaited" | "missing" | null;
}

const isLive = (turn: Turn) => turn.state === "waiting" || turn.state === "streaming";

/* Turns that the model is told of: those that have an answer, also half of one. */
export function historyOf(turns: readonly Turn[]): ChatMessage[] {
  return turns
    .filter((turn) => turn.answer !== "")
    .flatMap((turn) => [
      { role: "user" as const, content: turn.prompt },
      { role: "assistant" as const, content: turn.answer },
    ]);
}

export function tokensPerSecond(turn: Turn): number | null {
  if (turn.ttftMs === null || turn.lastMs === null) return null;
  const tokens = turn.usage?.completion_tokens ?? turn.deltas;
  const ms = turn.lastMs - turn.ttftMs;
  /* The first token's time is TTFT; the rate is that of the tokens after it. */
  return tokens > 1 && ms > 0 ? ((tokens - 1) * 1000) / ms : null;
}

class Conversation extends Store<readonly Turn[]> {
  private abort: AbortController | null = null;
  private nextId = 1;
  onRecorded: () => void = () => undefined; /* a row has landed in the ledger */

  constructor() {
    super([]);
  }

  isLive(): boolean {
    return this.get().some(isLive);
  }

  async send(base: string, prompt: string, request: (history: ChatMessage[]) => ChatRequest) {
    if (this.isLive()) return;
    const history = [...historyOf(this.get()), { role: "user" as const, content: prompt }];
    const asked = request(history);
    const id = this.nextId++;
    this.set([...this.get(), newTurn(id, prompt, asked)]);
    const abort = new AbortController();
    this.abort = abort;
    try {
      await this.stream(id, base, asked, abort.signal);
    } catch (err) {
      this.fail(id, err, abort.signal.aborted);
    } finally {
      if (this.abort === abort) this.abort = null;
    }
    await this.fetchRow(id);
  }

  stop() {
    this.abort?.abort();
  }

  remove(id: number) {
    this.set(this.get().filter((turn) => turn.id !== id));
  }

  clear() {
    this.stop();
    this.set([]);
  }

  private async stream(id: number, base: string, request: ChatRequest, signal: AbortSignal) {
    const secret = await playgroundKey.secret();
    signal.throwIfAborted();
    const start = performance.now();
    for await (const event of streamChat(base, secret, request, signal)) {
      const now = performance.now() - start;
      switch (event.kind) {
        case "open":
          this.update(id, () => ({ requestId: event.requestId, degraded: event.degraded }));
          break;
        case "text":
          this.update(id, (turn) => ({
            state: "streaming",
            answer: turn.answer + event.text,
            ttftMs: turn.ttftMs ?? now,
            lastMs: now,
            deltas: turn.deltas + 1,
          }));
          break;
        case "finish":
          this.update(id, () => ({ finish: event.reason }));
          break;
        case "usage":
          this.update(id, () => ({ usage: event.usage }));
          break;
      }
    }
    this.update(id, () => ({ state: "done" }));
  }

  private fail(id: number, err: unknown, isStopped: boolean) {
    if (isStopped) {
      this.update(id, () => ({ state: "stopped" }));
      return;
    }
    const error = err instanceof Error ? err : new Error(String(err));
    if (error instanceof GatewayError && error.status === 401) playgroundKey.forget();
    this.update(id, (turn) => ({
      state: "failed",
      error,
      failedAt: Date.now(),
      requestId: turn.requestId ?? (error instanceof GatewayError ? error.requestId : null),
    }));
  }

  private async fetchRow(id: number) {
    const turn = this.get().find((t) => t.id === id);
    /* A request that was refused outright is not billed; nothing to wait for. */
    if (!turn?.requestId || (turn.state === "failed" && turn.answer === "")) return;
    this.update(id, () => ({ row: "awaited" }));
    const row = await awaitUsage(turn.requestId).catch(() => null);
    this.update(id, () => ({ row: row ?? "missing" }));
    if (row) this.onRecorded();
  }

  private update(id: number, change: (turn: Turn) => Partial<Turn>) {
    this.set(this.get().map((turn) => (turn.id === id ? { ...turn, ...change(turn) } : turn)));
  }
}

function newTurn(id: number, prompt: string, request: ChatRequest): Turn {
  return {
    id,
    prompt,
    answer: "",
    state: "waiting",
    model: request.model,
    askedForJson: request.response_format !== undefined,
    ttftMs: null,
    lastMs: null,
    deltas: 0,
    usage: null,
    finish: null,
    requestId: null,
    degraded: null,
    error: null,
    failedAt: 0,
    row: null,
  };
}

export const conversation = new Conversation();
