/* curl - a chat request as a command for the shell. The key is left to the environment. */
import type { ChatRequest } from "../api/gateway";

export const KEY_VARIABLE = "SLUICE_API_KEY";

export function curlOf(base: string, request: ChatRequest): string {
  return [
    `curl -N ${shellQuote(`${base}/chat/completions`)} \\`,
    `  -H "Authorization: Bearer $${KEY_VARIABLE}" \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d ${shellQuote(JSON.stringify(request, null, 2))}`,
  ].join("\n");
}

/* Inside single quotes the shell takes every byte as it is, but for the quote itself. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
