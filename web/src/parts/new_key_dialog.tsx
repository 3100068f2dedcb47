/* new_key_dialog - asks for a name and an end, then shows the secret: now, and never again. While
 * the secret shows, a click beside the dialog does not close it. */
import { Alert, Button, Group, Modal, Select, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { type KeyWithSecret, createKey, keysQuery } from "../api/keys";
import { CopyButton } from "./copy_button";
import { Icon } from "./icon";
import classes from "./new_key_dialog.module.css";
import { Failed } from "./states";

const DAY_MS = 86_400_000;
const LIVES: Record<string, { label: string; ms: number | null }> = {
  "1h": { label: "In an hour", ms: DAY_MS / 24 },
  "1d": { label: "In a day", ms: DAY_MS },
  "30d": { label: "In 30 days", ms: 30 * DAY_MS },
  "90d": { label: "In 90 days", ms: 90 * DAY_MS },
  "365d": { label: "In a year", ms: 365 * DAY_MS },
  never: { label: "Never", ms: null },
};

export function NewKeyDialog({ isOpen, onClose }: { isOpen: boolean; onClose: () => void }) {
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: createKey,
    gcTime: 0 /* the answer holds a secret */,
    onSuccess: () => client.invalidateQueries({ queryKey: keysQuery.queryKey }),
  });
  const close = () => {
    onClose();
    create.reset();
  };
  return (
    <Modal
      opened={isOpen}
      onClose={close}
      title={create.data ? "Your new key" : "New API key"}
      centered
      closeOnClickOutside={!create.data}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {create.data ? (
        <Secret made={create.data} onDone={close} />
      ) : (
        <NewKeyForm
          isBusy={create.isPending}
          error={create.error}
          onCancel={close}
          onSubmit={(name, description, life) => {
            const ms = LIVES[life]?.ms ?? null;
            const expiresAt = ms === null ? null : new Date(Date.now() + ms);
            create.mutate({ name, description, expiresAt });
          }}
        />
      )}
    </Modal>
  );
}

function NewKeyForm(props: {
  isBusy: boolean;
  error: Error | null;
  onCancel: () => void;
  onSubmit: (name: string, description: string, life: string) => void;
}) {
  const [life, setLife] = useState("90d");
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    props.onSubmit(String(form.get("name")).trim(), String(form.get("description")).trim(), life);
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="md">
        {props.error && <Failed error={props.error} />}
        <TextInput
          label="Name"
          name="name"
          required
          withAsterisk={false}
          maxLength={100}
          data-autofocus
          placeholder="nightly batch"
          autoComplete="off"
        />
        <TextInput label="What it is for" name="description" maxLength={500} autoComplete="off" />
        <Select
          label="Ends"
          value={life}
          allowDeselect={false}
          data={Object.entries(LIVES).map(([value, { label }]) => ({ value, label }))}
          onChange={(next) => setLife(next ?? "90d")}
        />
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={props.onCancel}>
            Cancel
          </Button>
          <Button type="submit" loading={props.isBusy}>
            Create
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Secret({ made, onDone }: { made: KeyWithSecret; onDone: () => void }) {
  return (
    <Stack gap="md">
      <Alert color="yellow" icon={<Icon name="alert" />} role="status">
        Copy it now. It is not stored and cannot be shown again.
      </Alert>
      <div>
        <Text size="sm" fw={600} mb={4}>
          {made.name}
        </Text>
        <div className={classes.secret}>
          <code data-secret>{made.key}</code>
          <CopyButton text={made.key} label="Copy the key" />
        </div>
      </div>
      <Group justify="flex-end">
        <Button onClick={onDone} data-autofocus>
          I have copied it
        </Button>
      </Group>
    </Stack>
  );
}
