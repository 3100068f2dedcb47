/* playground_settings - what is asked for with each message, and the request that comes of it. */
import type { ChatMessage, ChatRequest } from "../api/gateway";
import { Store } from "./store";

export interface Settings {
  model: string | null;
  maxTokens: number;
  temperature: number;
  format: "text" | "json";
  system: string;
}

export const MAX_TOKENS_DEFAULT = 256;

export const playgroundSettings = new Store<Settings>({
  model: null,
  maxTokens: MAX_TOKENS_DEFAULT,
  temperature: 0.7,
  format: "text",
  system: "",
});

export function requestOf(
  settings: Settings,
  model: string,
  messages: readonly ChatMessage[],
): ChatRequest {
  const system = settings.system.trim();
  return {
    model,
    messages: [...(system ? [{ role: "system" as const, content: system }] : []), ...messages],
    max_completion_tokens: settings.maxTokens,
    temperature: settings.temperature,
    ...(settings.format === "json" ? { response_format: { type: "json_object" as const } } : {}),
    stream: true,
    stream_options: { include_usage: true },
  };
}
