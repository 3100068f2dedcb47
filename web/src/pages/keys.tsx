/* keys - API keys: what there is, a new one (its secret is shown once), the end of one. */
import { Button, Code, Group, Modal, Stack, Switch, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { usersQuery } from "../api/catalog";
import { type KeyState, keyState, keysQuery, deleteKey, revokeKey } from "../api/keys";
import { useSession } from "../api/session";
import type { Key } from "../api/types";
import { CopyButton } from "../parts/copy_button";
import { Icon } from "../parts/icon";
import { NewKeyDialog } from "../parts/new_key_dialog";
import { Page, Section } from "../parts/page";
import { Await, Empty, Failed } from "../parts/states";
import { type Column, DataTable } from "../parts/table";
import { Tag, type TagColor } from "../parts/tag";
import { Time } from "../parts/time";

export function KeysPage() {
  const { openai_base_url: base, org, user } = useSession();
  const keys = useQuery(keysQuery);
  /* Who sees more keys than the own ones sees whose they are. */
  const users = useQuery({ ...usersQuery, enabled: user.role !== "member" });
  const ownerOf = (key: Key) => users.data?.find((one) => one.id === key.user_id)?.email ?? "";
  const [isMaking, making] = useDisclosure(false);
  const [showsEnded, setShowsEnded] = useState(false);
  const [toEnd, setToEnd] = useState<Key | null>(null);
  const make = (
    <Button size="sm" leftSection={<Icon name="plus" size={16} />} onClick={making.open}>
      New key
    </Button>
  );

  return (
    <Page
      title="API keys"
      lead={
        <Group gap={4}>
          For any OpenAI client, at <Code>{base}</Code>
          <CopyButton text={base} label="Copy the base URL" />
        </Group>
      }
      actions={org && make}
    >
      <Section
        title="Keys"
        actions={
          <Switch
            size="xs"
            label="Show ended keys"
            checked={showsEnded}
            onChange={(event) => setShowsEnded(event.currentTarget.checked)}
          />
        }
      >
        <Await query={keys}>
          {(all) => {
            const rows = showsEnded ? all : all.filter((key) => isUsable(keyState(key)));
            if (rows.length === 0)
              return (
                <Empty icon="key" title={all.length > 0 ? "No key in use" : "No key yet"}>
                  A key lets programs use the models that are shared with your org.
                </Empty>
              );
            return (
              <DataTable
                label="API keys"
                columns={columns(setToEnd, ownerOf)}
                rows={rows}
                rowKey={(key) => key.id}
                minWidth={820}
                narrowWidth={300}
              />
            );
          }}
        </Await>
      </Section>
      <NewKeyDialog isOpen={isMaking} onClose={making.close} />
      <EndDialog target={toEnd} onClose={() => setToEnd(null)} />
    </Page>
  );
}

const isUsable = (state: KeyState) => state === "active" || state === "blocked";
const STATE_COLORS: Record<KeyState, TagColor> = {
  active: "teal",
  blocked: "orange",
  revoked: "gray",
  expired: "gray",
};

function columns(onEnd: (key: Key) => void, ownerOf: (key: Key) => string): Column<Key>[] {
  const noteOf = (key: Key) => [ownerOf(key), key.description].filter(Boolean).join(" · ");
  return [
    {
      title: "Name",
      cell: (key) => (
        <>
          <Text size="sm" fw={550} maw={{ base: 130, sm: 220 }} truncate title={key.name}>
            {key.name}
          </Text>
          {noteOf(key) && (
            <Text size="xs" c="dimmed" maw={{ base: 130, sm: 280 }} truncate title={noteOf(key)}>
              {noteOf(key)}
            </Text>
          )}
        </>
      ),
    },
    { title: "Id in logs", isSecondary: true, cell: (key) => <Code>{key.public_id}</Code> },
    {
      title: "Status",
      cell: (key) => {
        const state = keyState(key);
        return <Tag color={STATE_COLORS[state]}>{state}</Tag>;
      },
    },
    { title: "Created", isSecondary: true, cell: (key) => <Time at={key.created_at} by="day" /> },
    {
      title: "Expires",
      isSecondary: true,
      cell: (key) => (key.expires_at ? <Time at={key.expires_at} /> : "Never"),
    },
    {
      title: "Last used",
      isSecondary: true,
      cell: (key) => (key.last_used_at ? <Time at={key.last_used_at} /> : "Never"),
    },
    {
      title: "Actions",
      isAction: true,
      numeric: true,
      cell: (key) => {
        const word = isUsable(keyState(key)) ? "Revoke" : "Delete";
        return (
          <Button
            size="compact-xs"
            variant="subtle"
            color="red"
            aria-label={`${word} ${key.name}`}
            onClick={() => onEnd(key)}
          >
            {word}
          </Button>
        );
      },
    },
  ];
}

/* A key in use is revoked, one that has ended can be deleted. */
function EndDialog({ target, onClose }: { target: Key | null; onClose: () => void }) {
  const client = useQueryClient();
  /* What was asked stays on the dialog while it fades away. */
  const last = useRef<Key | null>(null);
  if (target) last.current = target;
  const key = last.current;
  const revokes = key !== null && isUsable(keyState(key));
  const end = useMutation({
    mutationFn: revokes ? revokeKey : deleteKey,
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keysQuery.queryKey });
      onClose();
    },
  });
  const close = () => {
    onClose();
    end.reset();
  };
  return (
    <Modal
      opened={target !== null}
      onClose={close}
      title={revokes ? "Revoke this key?" : "Delete this key?"}
      centered
      closeButtonProps={{ "aria-label": "Close" }}
    >
      <Stack gap="md">
        <Text size="sm">
          {revokes ? "Programs that use " : "The usage page will show the id of "}
          <b>{key?.name}</b>
          {revokes ? " are refused within a second." : " and no longer its name."} This cannot be
          undone.
        </Text>
        {end.error && <Failed error={end.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={close}>
            Keep it
          </Button>
          <Button color="red" loading={end.isPending} onClick={() => key && end.mutate(key.id)}>
            {revokes ? "Revoke" : "Delete"}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
