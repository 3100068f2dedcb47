/* playground - talk to a model that is shared with you, and see what an answer takes: time to first
 * token, tokens per second, tokens in and out, and its exact cost from the ledger. */
import { Button, Collapse, Group, Tabs, Text } from "@mantine/core";
import { useDisclosure, useMediaQuery } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { useSession } from "../api/session";
import { Composer } from "../parts/composer";
import { conversation, historyOf } from "../parts/conversation";
import { CopyButton } from "../parts/copy_button";
import { curlOf, KEY_VARIABLE } from "../parts/curl";
import { Icon } from "../parts/icon";
import { useTitle } from "../parts/page";
import { playgroundKey } from "../parts/playground_key";
import { PlaygroundControls } from "../parts/playground_controls";
import { playgroundSettings, requestOf } from "../parts/playground_settings";
import { useStore } from "../parts/store";
import { Talk } from "../parts/talk";
import { useModelChoices } from "../parts/use_model_choices";
import classes from "./playground.module.css";

const EXAMPLE = "Name three rivers in Europe and one fact about each.";

export function PlaygroundPage() {
  useTitle("Playground");
  const { openai_base_url: base, org } = useSession();
  const client = useQueryClient();
  const turns = useStore(conversation);
  const settings = useStore(playgroundSettings);
  const choices = useModelChoices(base);
  const [draft, setDraft] = useState("");
  const [tab, setTab] = useState<string | null>("chat");
  const isWide = useMediaQuery("(min-width: 62em)", true, { getInitialValueInEffect: false });
  const [areControlsOpen, { toggle }] = useDisclosure(false);
  const model = choices.selected;
  /* Keys belong to orgs. An operator has none, so none can be made: one must be pasted. */
  const needsKey = useStore(playgroundKey).kind === "none" && org === null;

  useEffect(() => {
    conversation.onRecorded = () => void client.invalidateQueries({ queryKey: ["usage"] });
  }, [client]);

  const send = (prompt: string) => {
    if (!model || needsKey || prompt.trim() === "") return;
    setTab("chat");
    setDraft("");
    void conversation.send(base, prompt, (history) =>
      requestOf(playgroundSettings.get(), model, history),
    );
  };
  const curl = useMemo(() => {
    const prompt = { role: "user" as const, content: draft.trim() || EXAMPLE };
    return curlOf(base, requestOf(settings, model ?? "MODEL", [...historyOf(turns), prompt]));
  }, [base, draft, model, settings, turns]);

  return (
    <div className={classes.page}>
      <Tabs value={tab} onChange={setTab} className={classes.main} keepMounted={false}>
        <Group justify="space-between" wrap="nowrap" gap="xs" className={classes.bar}>
          <Group gap="md" wrap="nowrap">
            <h1 className={classes.title}>Playground</h1>
            <Tabs.List className={classes.tabs}>
              <Tabs.Tab value="chat">Chat</Tabs.Tab>
              <Tabs.Tab value="curl">curl</Tabs.Tab>
            </Tabs.List>
          </Group>
          <Group gap={6} wrap="nowrap">
            {turns.length > 0 && (
              <Button
                size="xs"
                variant="default"
                leftSection={<Icon name="eraser" size={15} />}
                onClick={() => conversation.clear()}
              >
                Clear
              </Button>
            )}
            {!isWide && (
              <Button
                size="xs"
                variant="default"
                leftSection={<Icon name="sliders" size={15} />}
                aria-expanded={areControlsOpen}
                aria-controls="controls"
                onClick={toggle}
              >
                Settings
              </Button>
            )}
          </Group>
        </Group>

        {!isWide && (
          <Collapse expanded={areControlsOpen} id="controls">
            <div className={classes.fold}>
              <PlaygroundControls choices={choices} />
            </div>
          </Collapse>
        )}

        <Tabs.Panel value="chat" className={classes.panel}>
          <Talk
            turns={turns}
            model={model}
            needsKey={needsKey}
            onExample={() => setDraft(EXAMPLE)}
            onAgain={send}
          />
        </Tabs.Panel>
        <Tabs.Panel value="curl" className={classes.panel}>
          <CurlView command={curl} />
        </Tabs.Panel>

        <Composer
          draft={draft}
          onDraft={setDraft}
          onSend={() => send(draft)}
          isLive={turns.some((turn) => turn.state === "waiting" || turn.state === "streaming")}
          canSend={model !== null && !needsKey}
        />
      </Tabs>
      {isWide && (
        <aside className={classes.side} aria-label="Settings">
          <PlaygroundControls choices={choices} />
        </aside>
      )}
    </div>
  );
}

function CurlView({ command }: { command: string }) {
  return (
    <div className={classes.curl}>
      <Group justify="space-between" align="flex-start" wrap="nowrap" mb="xs">
        <Text size="sm" c="dimmed">
          What Send would ask for now. Put a key of yours into <code>{KEY_VARIABLE}</code> first.
        </Text>
        <CopyButton text={command} label="Copy the command" />
      </Group>
      <pre className={classes.code} tabIndex={0} aria-label="curl command">
        {command}
      </pre>
    </div>
  );
}
