/* deployment_state - the state of a deployment, by word and by colour. */
import { Badge, Tooltip } from "@mantine/core";
import type { Deployment } from "../api/types";

const COLORS: Record<Deployment["state"], string> = {
  pending: "gray",
  scheduling: "blue",
  loading: "blue",
  running: "teal",
  draining: "yellow",
  stopped: "gray",
  failed: "red",
};

export function StateBadge({ deployment }: { deployment: Deployment }) {
  const { state, state_reason: reason, progress } = deployment;
  const isOnTheWay = state === "loading" || state === "scheduling";
  const badge = (
    <Badge variant="light" color={COLORS[state]} tt="none" tabIndex={reason ? 0 : undefined}>
      {state}
      {isOnTheWay && progress > 0 ? ` ${progress} %` : ""}
    </Badge>
  );
  return reason ? (
    <Tooltip label={reason} withArrow multiline maw={360} events={{ hover: true, focus: true, touch: true }}>
      {badge}
    </Tooltip>
  ) : (
    badge
  );
}
