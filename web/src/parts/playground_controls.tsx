/* playground_controls - the model, and how its answers are asked for. */
import {
  Alert,
  Button,
  Group,
  Input,
  NumberInput,
  PasswordInput,
  SegmentedControl,
  Select,
  Slider,
  Stack,
  Text,
  Textarea,
} from "@mantine/core";
import { type ReactNode, useId, useState } from "react";
import { useSession } from "../api/session";
import { StateBadge } from "./deployment_state";
import { Icon } from "./icon";
import { playgroundKey } from "./playground_key";
import { playgroundSettings } from "./playground_settings";
import { Failed } from "./states";
import { Tag } from "./tag";
import { useStore } from "./store";
import { formatMinute } from "./format";
import type { ModelChoices } from "./use_model_choices";

const LENGTH_MAX = 4096; /* where the deployment does not say */

export function PlaygroundControls({ choices }: { choices: ModelChoices }) {
  const settings = useStore(playgroundSettings);
  const chosen = choices.list?.find((choice) => choice.name === choices.selected);
  const lengthMax = chosen?.deployment?.max_output ?? LENGTH_MAX;
  return (
    <Stack gap="lg">
      <ModelField choices={choices} />
      <NumberField
        label="Output length"
        help="Most tokens of an answer."
        value={Math.min(settings.maxTokens, lengthMax)}
        min={1}
        max={lengthMax}
        step={1}
        onChange={(maxTokens) => playgroundSettings.patch({ maxTokens })}
      />
      <NumberField
        label="Temperature"
        help="0: the likeliest word each time. Higher: more varied."
        value={settings.temperature}
        min={0}
        max={2}
        step={0.1}
        decimals={2}
        onChange={(temperature) => playgroundSettings.patch({ temperature })}
      />
      <FormatField />
      <Textarea
        label="System prompt"
        description="Optional. Sent before the conversation."
        autosize
        minRows={2}
        maxRows={8}
        value={settings.system}
        onChange={(event) => playgroundSettings.patch({ system: event.currentTarget.value })}
      />
      <KeyField />
    </Stack>
  );
}

function ModelField({ choices }: { choices: ModelChoices }) {
  if (choices.error) return <Failed error={choices.error} onRetry={choices.retry} />;
  if (choices.list?.length === 0)
    return (
      <Alert color="yellow" icon={<Icon name="alert" />} title="No model is shared with you">
        Ask whoever runs this service to share a deployment with your org.
      </Alert>
    );
  const deployment = choices.list?.find((c) => c.name === choices.selected)?.deployment;
  return (
    <Stack gap={6}>
      <Select
        label="Model"
        data={choices.list?.map((choice) => choice.name) ?? []}
        value={choices.selected}
        allowDeselect={false}
        disabled={choices.list === null}
        placeholder={choices.list === null ? "Loading" : "Choose a model"}
        onChange={(model) => playgroundSettings.patch({ model })}
        comboboxProps={{ withinPortal: true }}
      />
      {deployment && deployment.state !== "running" && (
        <Group gap="xs">
          <StateBadge deployment={deployment} />
          <Text size="xs" c="dimmed">
            {deployment.state_reason || "It does not answer yet."}
          </Text>
        </Group>
      )}
    </Stack>
  );
}

function NumberField(props: {
  label: string;
  help: string;
  value: number;
  min: number;
  max: number;
  step: number;
  decimals?: number;
  onChange: (value: number) => void;
}) {
  const { label, value, min, max, step } = props;
  return (
    <Stack gap={8}>
      <Group justify="space-between" wrap="nowrap" align="flex-end">
        <Label text={label} help={props.help} />
        <NumberInput
          aria-label={label}
          size="xs"
          w={92}
          flex="none"
          value={value}
          min={min}
          max={max}
          step={step}
          decimalScale={props.decimals ?? 0}
          clampBehavior="blur"
          onChange={(next) => {
            const number = Number(next);
            if (next !== "" && number >= min && number <= max) props.onChange(number);
          }}
        />
      </Group>
      <Slider
        thumbLabel={label}
        label={null}
        size="sm"
        value={value}
        min={min}
        max={max}
        step={step}
        onChange={props.onChange}
      />
    </Stack>
  );
}

function Label({ text, help }: { text: string; help: ReactNode }) {
  return (
    <div>
      <Input.Label labelElement="div">{text}</Input.Label>
      <Input.Description>{help}</Input.Description>
    </div>
  );
}

function FormatField() {
  const { format } = useStore(playgroundSettings);
  const id = useId();
  return (
    <Stack gap={6}>
      <Input.Label labelElement="div" id={id}>
        Response format
      </Input.Label>
      <SegmentedControl
        aria-labelledby={id}
        fullWidth
        value={format}
        onChange={(next) => playgroundSettings.patch({ format: next as "text" | "json" })}
        data={[
          { value: "text", label: "Text" },
          { value: "json", label: "JSON" },
        ]}
      />
    </Stack>
  );
}

function KeyField() {
  const { org } = useSession();
  const key = useStore(playgroundKey);
  const [isPasting, setPasting] = useState(false);
  const [pasted, setPasted] = useState("");
  const take = () => {
    playgroundKey.useOwn(pasted.trim());
    setPasted("");
    setPasting(false);
  };
  return (
    <Stack gap={6}>
      <Group justify="space-between">
        <Input.Label labelElement="div">Key</Input.Label>
        {key.kind !== "none" && (
          <Tag color="cyan">{key.kind === "made" ? "Temporary" : "Your own"}</Tag>
        )}
      </Group>
      <Text size="xs" c="dimmed">
        {keyStory(key, org !== null)}
      </Text>
      {isPasting ? (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (pasted.trim()) take();
          }}
        >
          <Group gap="xs" align="flex-end" wrap="nowrap">
            <PasswordInput
              aria-label="API key"
              placeholder="Paste a key"
              size="xs"
              flex={1}
              autoComplete="off"
              autoFocus
              value={pasted}
              onChange={(event) => setPasted(event.currentTarget.value)}
            />
            <Button size="xs" type="submit" disabled={!pasted.trim()}>
              Use it
            </Button>
          </Group>
        </form>
      ) : (
        <Group gap="xs">
          <Button size="compact-xs" variant="default" onClick={() => setPasting(true)}>
            {key.kind === "own" ? "Use another key" : "Use a key of mine"}
          </Button>
          {key.kind === "own" && (
            <Button size="compact-xs" variant="subtle" onClick={() => playgroundKey.forget()}>
              Forget it
            </Button>
          )}
        </Group>
      )}
    </Stack>
  );
}

function keyStory(key: ReturnType<typeof playgroundKey.get>, hasOrg: boolean): string {
  switch (key.kind) {
    case "made":
      return `A key named “Playground”, made for this tab and kept in its memory only. It ends at ${formatMinute(
        new Date(key.expiresAt).toISOString(),
      )}, or when you leave.`;
    case "own":
      return "The key that you pasted, kept in this tab's memory only.";
    case "none":
      return hasOrg
        ? "Your first message makes a key named “Playground”. It lives for one hour, in this tab's memory only."
        : "Operators have no org of their own: paste a key of the org that you want to try as.";
  }
}
