/* keys - API keys of the person that is logged in. The secret is in the answer to create, once. */
import { queryOptions } from "@tanstack/react-query";
import { api, csrfHeader, must, readAll } from "./client";
import type { Key } from "./types";

export const keysQuery = queryOptions({
  queryKey: ["keys"],
  queryFn: async () => {
    const keys = await readAll(async (query) =>
      must(await api.GET("/api/v1/keys", { params: { query } })),
    );
    return keys.sort((a, b) => b.created_at.localeCompare(a.created_at)); /* newest first */
  },
});

export interface NewKey {
  name: string;
  description: string;
  expiresAt: Date | null;
}
export type KeyWithSecret = Key & { key: string };

export async function createKey(wanted: NewKey): Promise<KeyWithSecret> {
  return must(
    await api.POST("/api/v1/keys", {
      body: {
        name: wanted.name,
        description: wanted.description,
        expires_at: wanted.expiresAt ? rfc3339(wanted.expiresAt) : null,
      },
    }),
  );
}

/* A revoked key is refused from now on; its name stays, for the usage that it has. */
export async function revokeKey(id: string) {
  await api.PATCH("/api/v1/keys/{id}", { params: { path: { id } }, body: { status: "revoked" } });
}

/* A deleted key is refused too, and leaves nothing but its id in the usage. */
export async function deleteKey(id: string) {
  await api.DELETE("/api/v1/keys/{id}", { params: { path: { id } } });
}

/* While the page goes away: nobody is left to read the answer, but the request still leaves. */
export function deleteKeyOnLeave(id: string) {
  void fetch(`/api/v1/keys/${encodeURIComponent(id)}`, {
    method: "DELETE",
    keepalive: true,
    headers: csrfHeader(),
  }).catch(() => undefined);
}

export type KeyState = "active" | "blocked" | "revoked" | "expired";
export function keyState(key: Key, now = Date.now()): KeyState {
  if (key.status !== "active") return key.status;
  return key.expires_at && Date.parse(key.expires_at) <= now ? "expired" : "active";
}

function rfc3339(time: Date): string {
  return time.toISOString();
}
