/* turn - one message and its answer, with what the answer took. Both are plain text: whatever a
 * model writes, it cannot become markup here. */
import { Alert, Button, Group, Loader, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import { GatewayError } from "../api/gateway";
import { adviceFor } from "./advice";
import { conversation, type Turn } from "./conversation";
import { formatSeconds } from "./format";
import { Icon } from "./icon";
import { playgroundSettings } from "./playground_settings";
import { Tag } from "./tag";
import classes from "./turn.module.css";
import { TurnStats } from "./turn_stats";

export function TurnView({ turn, onAgain }: { turn: Turn; onAgain: (prompt: string) => void }) {
  const isLive = turn.state === "waiting" || turn.state === "streaming";
  return (
    <article className={classes.turn} aria-label="Exchange" data-state={turn.state}>
      <div className={classes.prompt}>{turn.prompt}</div>
      <div className={classes.answer}>
        <Group gap="xs" mb={4}>
          <Text size="xs" c="dimmed" fw={600}>
            {turn.model}
          </Text>
          {turn.state === "stopped" && <Tag color="yellow">Stopped</Tag>}
          {turn.finish === "length" && <Tag color="yellow">Cut at the output length</Tag>}
          {turn.degraded && <Tag color="orange">Degraded: {turn.degraded}</Tag>}
        </Group>
        {turn.answer === "" && turn.state === "waiting" && <Waiting />}
        {turn.answer !== "" && (
          <div className={classes.text} data-part="answer">
            {turn.answer}
            {isLive && <span className={classes.caret} aria-hidden="true" />}
          </div>
        )}
        {turn.answer === "" && turn.state === "done" && (
          <Text size="sm" c="dimmed">
            The model ended without a word.
          </Text>
        )}
        {turn.error && <TurnError turn={turn} error={turn.error} onAgain={onAgain} />}
        <TurnStats turn={turn} />
      </div>
    </article>
  );
}

function Waiting() {
  return (
    <Group gap="xs">
      <Loader size="xs" type="dots" aria-hidden="true" />
      <Text size="sm" c="dimmed">
        Waiting for the first token
      </Text>
    </Group>
  );
}

function TurnError(props: { turn: Turn; error: Error; onAgain: (prompt: string) => void }) {
  const { turn, error } = props;
  const advice = adviceFor(error, turn.askedForJson);
  const waitMs = useCountdown(
    turn.failedAt + (error instanceof GatewayError ? (error.retryAfterMs ?? 0) : 0),
  );
  const again = () => {
    if (turn.answer === "") conversation.remove(turn.id);
    props.onAgain(turn.prompt);
  };
  return (
    <Alert color="red" icon={<Icon name="alert" />} title={advice.title} role="alert" mt="xs">
      <Text size="sm">{error.message}</Text>
      <Text size="sm" mt={6}>
        {advice.next}
      </Text>
      <Group gap="sm" mt="sm">
        {advice.canRetry && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="retry" size={14} />}
            disabled={waitMs > 0}
            onClick={again}
          >
            Try again
          </Button>
        )}
        {/* A timer is silent for screen readers, also inside an alert. */}
        {waitMs > 0 && (
          <Text size="sm" role="timer" aria-live="off" className="numbers">
            in {formatSeconds(waitMs)}
          </Text>
        )}
        {advice.offerText && (
          <Button
            size="xs"
            variant="default"
            onClick={() => {
              playgroundSettings.patch({ format: "text" });
              again();
            }}
          >
            Send as plain text
          </Button>
        )}
      </Group>
    </Alert>
  );
}

const TICK_MS = 250;

/* Milliseconds until `end`, ticking; 0 when it has passed. */
function useCountdown(end: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (end <= Date.now()) return;
    const timer = setInterval(() => {
      setNow(Date.now());
      if (end <= Date.now()) clearInterval(timer);
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [end]);
  return Math.max(0, end - now);
}
