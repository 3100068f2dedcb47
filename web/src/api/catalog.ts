/* catalog - what is deployed, and for whom. Lists are small; they are read whole. */
import { queryOptions } from "@tanstack/react-query";
import { api, must, readAll } from "./client";
import type { Deployment, Model } from "./types";

export const deploymentsQuery = queryOptions({
  queryKey: ["deployments"],
  queryFn: () =>
    readAll(async (query) => must(await api.GET("/api/v1/deployments", { params: { query } }))),
});

export const modelsQuery = queryOptions({
  queryKey: ["models"],
  queryFn: () =>
    readAll(async (query) => must(await api.GET("/api/v1/models", { params: { query } }))),
});

export const orgsQuery = queryOptions({
  queryKey: ["orgs"],
  queryFn: () =>
    readAll(async (query) => must(await api.GET("/api/v1/orgs", { params: { query } }))),
});

export const endpointsQuery = queryOptions({
  queryKey: ["endpoints"],
  queryFn: () =>
    readAll(async (query) => must(await api.GET("/api/v1/endpoints", { params: { query } }))),
});

export const usersQuery = queryOptions({
  queryKey: ["users"],
  queryFn: () =>
    readAll(async (query) => must(await api.GET("/api/v1/users", { params: { query } }))),
});

/* What clients write as `model` to reach this deployment. */
export function servedName(deployment: Deployment, models: readonly Model[]): string {
  if (deployment.served_name) return deployment.served_name;
  return models.find((m) => m.id === deployment.model_id)?.name ?? deployment.name;
}
