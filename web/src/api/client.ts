/* client - the one door to the control plane's REST API, typed by the generated contract.
 *
 * Answers are cookies-authenticated; every write carries the session's CSRF token. A refusal
 * becomes an ApiError, so that callers either hold data or are in their error branch. */
import createClient from "openapi-fetch";
import type { paths } from "./schema";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field: string | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

let csrf = "";
let onLoggedOut: () => void = () => undefined;

/* Called by session.ts alone: it owns what the browser knows about who is logged in. */
export function setCsrf(token: string) {
  csrf = token;
}
export function setOnLoggedOut(callback: () => void) {
  onLoggedOut = callback;
}
export function csrfHeader(): Record<string, string> {
  return csrf ? { "x-csrf-token": csrf } : {};
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    const body: unknown = await response.clone().json();
    const error = (body as { error?: { code?: string; message?: string; field?: string | null } })
      .error;
    if (error?.message)
      return new ApiError(response.status, error.code ?? "error", error.message, error.field);
  } catch {
    /* not JSON: a proxy in front of us, or a program that just died */
  }
  return new ApiError(response.status, "unreadable", `The server answered ${response.status}.`);
}

export const api = createClient<paths>({ baseUrl: window.location.origin });
api.use({
  onRequest({ request }) {
    if (csrf && request.method !== "GET") request.headers.set("x-csrf-token", csrf);
    return request;
  },
  async onResponse({ request, response }) {
    if (response.ok) return;
    /* A 401 to the log-in form itself means a wrong password, not a session that ended. */
    const isLogin = request.method === "POST" && request.url.endsWith("/api/v1/session");
    if (response.status === 401 && !isLogin) onLoggedOut();
    throw await refusal(response);
  },
  onError({ error }) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    return new ApiError(0, "unreachable", "The control plane cannot be reached. Is it running?");
  },
});

/* The data of an answer; answers without any (204) are not read through this. */
export function must<T>(answer: { data?: T | undefined }): T {
  if (answer.data === undefined) throw new ApiError(0, "empty", "The server sent an empty answer.");
  return answer.data;
}

const PAGE = 200;
const PAGES_MAX = 25;

/* Reads a whole list, page by page, up to PAGE * PAGES_MAX rows: for the small tables (deployments,
 * orgs, keys) that pages show or choose from. */
export async function readAll<T>(
  page: (query: { limit: number; after?: string }) => Promise<{ data: T[]; next: string | null }>,
): Promise<T[]> {
  const rows: T[] = [];
  let after: string | null = null;
  for (let n = 0; n < PAGES_MAX; n++) {
    const got = await page(after === null ? { limit: PAGE } : { limit: PAGE, after });
    rows.push(...got.data);
    after = got.next;
    if (!after) break;
  }
  return rows;
}
