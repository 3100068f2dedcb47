/* composer - where a message is written. Enter sends, Shift+Enter breaks the line, Esc stops. */
import { Button, Text, Textarea } from "@mantine/core";
import type { KeyboardEvent } from "react";
import classes from "./composer.module.css";
import { conversation } from "./conversation";
import { Icon } from "./icon";

export function Composer(props: {
  draft: string;
  onDraft: (text: string) => void;
  onSend: () => void;
  isLive: boolean;
  canSend: boolean;
}) {
  const isReady = props.canSend && !props.isLive && props.draft.trim() !== "";
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && props.isLive) conversation.stop();
    /* While an input method composes a word, Enter belongs to it. */
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (isReady) props.onSend();
  };
  return (
    <div className={classes.composer}>
      <div className={classes.row}>
        <Textarea
          aria-label="Message"
          placeholder="Write a message"
          autosize
          minRows={1}
          maxRows={8}
          flex={1}
          value={props.draft}
          onChange={(event) => props.onDraft(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          autoFocus
        />
        {props.isLive ? (
          <Button
            color="red"
            variant="light"
            leftSection={<Icon name="stop" size={16} />}
            onClick={() => conversation.stop()}
          >
            Stop
          </Button>
        ) : (
          <Button
            leftSection={<Icon name="send" size={16} />}
            disabled={!isReady}
            onClick={props.onSend}
          >
            Send
          </Button>
        )}
      </div>
      <Text size="xs" c="dimmed" mt={6} visibleFrom="sm">
        Enter sends · Shift+Enter starts a new line · Esc stops
      </Text>
    </div>
  );
}
