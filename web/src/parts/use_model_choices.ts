/* use_model_choices - which models can be picked.
 *
 * Before there is a key the control plane's list of deployments that are shared with this person is
 * shown; as soon as there is one, the gateway's /v1/models for that key is what counts. */
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { deploymentsQuery, modelsQuery, servedName } from "../api/catalog";
import { GatewayError, listModels } from "../api/gateway";
import type { Deployment } from "../api/types";
import { playgroundKey } from "./playground_key";
import { playgroundSettings } from "./playground_settings";
import { useStore } from "./store";

export interface ModelChoice {
  name: string;
  deployment: Deployment | null; /* null: the gateway knows it, our list does not (yet) */
}
export interface ModelChoices {
  list: ModelChoice[] | null; /* null: not known yet */
  error: Error | null;
  selected: string | null;
  retry: () => void;
}

export function useModelChoices(base: string): ModelChoices {
  const key = useStore(playgroundKey);
  const settings = useStore(playgroundSettings);
  const deployments = useQuery({ ...deploymentsQuery, refetchInterval: 10_000 });
  const models = useQuery(modelsQuery);
  const secret = key.kind === "none" ? null : key.secret;
  const atGateway = useQuery({
    queryKey: ["gateway", "models", base, secret],
    enabled: secret !== null,
    retry: (count, error) => count < 2 && !(error instanceof GatewayError && error.status >= 400),
    queryFn: () => listModels(base, secret ?? ""),
  });

  const known = (deployments.data ?? []).map((deployment) => ({
    name: servedName(deployment, models.data ?? []),
    deployment,
  }));
  const list = atGateway.data
    ? atGateway.data.map((name) => known.find((k) => k.name === name) ?? { name, deployment: null })
    : deployments.data && !models.isPending
      ? known
      : null;

  const wanted = settings.model;
  const isThere = list?.some((choice) => choice.name === wanted) === true;
  const selected = isThere ? wanted : (firstServing(list)?.name ?? null);
  useEffect(() => {
    if (list && selected !== wanted) playgroundSettings.patch({ model: selected });
  }, [list, selected, wanted]);

  return {
    list,
    error: list ? null : (deployments.error ?? models.error),
    selected,
    retry: () => {
      void deployments.refetch();
      void models.refetch();
    },
  };
}

function firstServing(list: ModelChoice[] | null): ModelChoice | undefined {
  return list?.find((choice) => choice.deployment?.state === "running") ?? list?.[0];
}
