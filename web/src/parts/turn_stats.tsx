/* turn_stats - what an answer took. While it streams the numbers are this page's own; at its end
 * tokens and cost are those of its row in the ledger. */
import { Group, Loader, Text, Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import { type Turn, tokensPerSecond } from "./conversation";
import { CopyButton } from "./copy_button";
import { formatCount, formatMs, formatRate } from "./format";
import { Money } from "./money";
import classes from "./turn_stats.module.css";

interface Tokens {
  input: number;
  cached: number;
  output: number;
}

export function TurnStats({ turn }: { turn: Turn }) {
  const tokens = tokensOf(turn);
  const rate = tokensPerSecond(turn);
  const isLive = turn.state === "waiting" || turn.state === "streaming";
  if (turn.ttftMs === null && !turn.requestId) return null;
  return (
    <dl className={classes.stats}>
      {turn.ttftMs !== null && (
        <Item
          name="ttft"
          label="TTFT"
          help="Time from Send to the first token, seen by this browser"
        >
          {formatMs(turn.ttftMs)}
        </Item>
      )}
      {rate !== null && (
        <Item name="rate" label="Speed" help="Tokens per second after the first one">
          {formatRate(rate)} tokens/s
        </Item>
      )}
      {tokens && (
        <Item name="input" label="Input" help="Prompt tokens; cached ones were already computed">
          {formatCount(tokens.input + tokens.cached)}
          {tokens.cached > 0 && ` (${formatCount(tokens.cached)} cached)`}
        </Item>
      )}
      {(tokens || turn.deltas > 0) && (
        <Item name="output" label="Output" help="Tokens of the answer">
          {tokens ? formatCount(tokens.output) : `≈ ${formatCount(turn.deltas)}`}
        </Item>
      )}
      {!isLive && <Cost turn={turn} />}
      {turn.requestId && (
        <Item name="request" label="Request" help="Its id in the usage page and in the ledger">
          <Group gap={2} wrap="nowrap">
            <code className={classes.id}>{turn.requestId}</code>
            <CopyButton text={turn.requestId} label="Copy the request id" />
          </Group>
        </Item>
      )}
    </dl>
  );
}

function tokensOf(turn: Turn): Tokens | null {
  if (turn.row && typeof turn.row === "object")
    return {
      input: turn.row.input_tokens,
      cached: turn.row.cached_tokens,
      output: turn.row.output_tokens,
    };
  if (!turn.usage) return null;
  const cached = turn.usage.prompt_tokens_details?.cached_tokens ?? 0;
  return { input: turn.usage.prompt_tokens - cached, cached, output: turn.usage.completion_tokens };
}

function Cost({ turn }: { turn: Turn }) {
  if (turn.row === null) return null;
  return (
    <Item name="cost" label="Cost" help="Exact, from the ledger's row of this request">
      {turn.row === "awaited" && <Loader size={12} aria-label="On its way from the meter" />}
      {turn.row === "missing" && (
        <Text span inherit c="dimmed">
          not recorded yet
        </Text>
      )}
      {typeof turn.row === "object" && (
        <Money amount={turn.row.cost} currency={turn.row.currency} />
      )}
    </Item>
  );
}

function Item(props: { name: string; label: string; help: string; children: ReactNode }) {
  return (
    <div className={classes.item} data-stat={props.name}>
      <Tooltip label={props.help} withArrow openDelay={300}>
        <dt>{props.label}</dt>
      </Tooltip>
      <dd>{props.children}</dd>
    </div>
  );
}
