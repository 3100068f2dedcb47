/* deployment_state - the state of a deployment, by word and by colour. */
import { Tooltip } from "@mantine/core";
import type { Deployment } from "../api/types";
import { Tag, type TagColor } from "./tag";

const COLORS: Record<Deployment["state"], TagColor> = {
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
    <Tag color={COLORS[state]} {...(reason ? { tabIndex: 0 } : {})}>
      {state}
      {isOnTheWay && progress > 0 ? ` ${progress} %` : ""}
    </Tag>
  );
  return reason ? (
    <Tooltip
      label={reason}
      withArrow
      multiline
      maw={360}
      events={{ hover: true, focus: true, touch: true }}
    >
      {badge}
    </Tooltip>
  ) : (
    badge
  );
}
