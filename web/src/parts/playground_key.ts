/* playground_key - the API key with which the playground talks to the gateway.
 *
 *   none ──first send──▶ made ──leave, log out──▶ deleted
 *     └───pasted───────▶ own   (never made, never deleted by us)
 *
 * Either kind lives in this tab's memory alone. A made key also dies by itself after an hour. */
import { createKey, deleteKey, deleteKeyOnLeave } from "../api/keys";
import { Store } from "./store";

export type PlaygroundKeyState =
  | { kind: "none" }
  | { kind: "made"; id: string; secret: string; expiresAt: number }
  | { kind: "own"; secret: string };

const LIFE_MS = 60 * 60_000;
const MARGIN_MS = 2 * 60_000; /* a key this close to its end is replaced before it is used */

class PlaygroundKey extends Store<PlaygroundKeyState> {
  private making: Promise<string> | null = null;

  constructor() {
    super({ kind: "none" });
    window.addEventListener("pagehide", () => {
      const now = this.get();
      if (now.kind === "made") deleteKeyOnLeave(now.id);
      this.set({ kind: "none" });
    });
  }

  /* The secret to send with; makes a key when there is none. */
  async secret(): Promise<string> {
    const now = this.get();
    if (now.kind === "own") return now.secret;
    if (now.kind === "made" && now.expiresAt - MARGIN_MS > Date.now()) return now.secret;
    this.making ??= this.make().finally(() => {
      this.making = null;
    });
    return this.making;
  }

  private async make(): Promise<string> {
    const expiresAt = Date.now() + LIFE_MS;
    const made = await createKey({
      name: "Playground",
      description: "Made by the playground, for one hour",
      expiresAt: new Date(expiresAt),
    });
    this.set({ kind: "made", id: made.id, secret: made.key, expiresAt });
    return made.key;
  }

  useOwn(secret: string) {
    void this.drop();
    this.set({ kind: "own", secret });
  }

  /* After the gateway refused it: the next send makes a new one. */
  forget() {
    this.set({ kind: "none" });
  }

  async drop() {
    const now = this.get();
    this.set({ kind: "none" });
    if (now.kind === "made") await deleteKey(now.id).catch(() => undefined);
  }
}

export const playgroundKey = new PlaygroundKey();
