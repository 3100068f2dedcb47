/* talk - the turns, newest last. It follows the stream for as long as the reader is at its end. */
import { Button, VisuallyHidden } from "@mantine/core";
import { useEffect, useRef } from "react";
import type { Turn } from "./conversation";
import { Empty } from "./states";
import classes from "./talk.module.css";
import { TurnView } from "./turn";

const NEAR_END_PX = 80;

export function Talk(props: {
  turns: readonly Turn[];
  model: string | null;
  needsKey: boolean;
  onExample: () => void;
  onAgain: (prompt: string) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const count = props.turns.length;
  useEffect(() => {
    follows.current = true; /* a new turn is where the reader wants to be */
  }, [count]);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [props.turns]);

  const last = props.turns[count - 1];
  return (
    <>
      <div
        ref={box}
        className={classes.talk}
        tabIndex={0}
        role="log"
        aria-label="Conversation"
        aria-live="polite"
        /* While busy, screen readers wait: they read the whole answer, not each token. */
        aria-busy={last?.state === "waiting" || last?.state === "streaming"}
        onScroll={(event) => {
          const el = event.currentTarget;
          follows.current = el.scrollHeight - el.scrollTop - el.clientHeight < NEAR_END_PX;
        }}
      >
        {count === 0 ? (
          <Start {...props} />
        ) : (
          props.turns.map((turn) => <TurnView key={turn.id} turn={turn} onAgain={props.onAgain} />)
        )}
      </div>
      <VisuallyHidden role="status">{last ? statusOf(last) : ""}</VisuallyHidden>
    </>
  );
}

function Start(props: { model: string | null; needsKey: boolean; onExample: () => void }) {
  if (props.needsKey)
    return (
      <Empty icon="key" title="Paste a key to talk">
        Operators have no org of their own. Take a key of the org that you want to try as: “Use a
        key of mine” in the settings.
      </Empty>
    );
  return (
    <Empty icon="chat" title={props.model ? `Talk to ${props.model}` : "Choose a model"}>
      Answers stream in as they are computed. Each shows its time to first token, its speed and its
      exact cost.
      <div className={classes.example}>
        <Button size="xs" variant="light" onClick={props.onExample} disabled={!props.model}>
          Start with an example
        </Button>
      </div>
    </Empty>
  );
}

function statusOf(turn: Turn): string {
  switch (turn.state) {
    case "waiting":
      return "Waiting for the answer";
    case "streaming":
      return "The answer is coming";
    case "done":
      return "The answer is complete";
    case "stopped":
      return "The answer was stopped";
    case "failed":
      return "The answer failed";
  }
}
