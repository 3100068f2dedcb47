/* session - who is logged in. `null` means nobody; the router sends such visitors to /login. */
import { type QueryClient, queryOptions, useSuspenseQuery } from "@tanstack/react-query";
import { ApiError, api, must, setCsrf, setOnLoggedOut } from "./client";
import type { Session } from "./types";

const SESSION_KEY = ["session"] as const;

export const sessionQuery = queryOptions({
  queryKey: SESSION_KEY,
  staleTime: 5 * 60_000,
  retry: false,
  queryFn: async (): Promise<Session | null> => {
    try {
      const session = must(await api.GET("/api/v1/session"));
      setCsrf(session.csrf ?? "");
      return session;
    } catch (err) {
      if (err instanceof ApiError && err.status === 401) return null;
      throw err;
    }
  },
});

/* Inside the shell there always is a session: the router's guard has seen to it. While the log-out
 * is on its way the last one is shown. */
let lastSeen: Session | null = null;
export function useSession(): Session {
  const { data } = useSuspenseQuery(sessionQuery);
  if (data) lastSeen = data;
  if (!lastSeen) throw new ApiError(401, "logged_out", "You are logged out.");
  return lastSeen;
}

export async function logIn(
  client: QueryClient,
  email: string,
  password: string,
): Promise<Session> {
  const session = must(await api.POST("/api/v1/session", { body: { email, password } }));
  setCsrf(session.csrf ?? "");
  client.clear(); /* nothing of whoever was here before */
  client.setQueryData(SESSION_KEY, session);
  return session;
}

export async function logOut(client: QueryClient) {
  await api.DELETE("/api/v1/session");
  forgetSession(client);
}

function forgetSession(client: QueryClient) {
  setCsrf("");
  client.setQueryData(SESSION_KEY, null);
}

/* A 401 in the middle of work: the session has ended elsewhere. */
export function watchSession(client: QueryClient, onEnded: () => void) {
  setOnLoggedOut(() => {
    const had = client.getQueryData(SESSION_KEY);
    forgetSession(client);
    if (had) onEnded();
  });
}
