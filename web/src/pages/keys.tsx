/* keys - API keys: what there is, a new one (its secret is shown once), revoking one. */
import { Button, Code, Group, Modal, Stack, Switch, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type KeyState, keyState, keysQuery, revokeKey } from "../api/keys";
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
  const { openai_base_url: base, org } = useSession();
  const keys = useQuery(keysQuery);
  const [isMaking, making] = useDisclosure(false);
  const [showsEnded, setShowsEnded] = useState(false);
  const [toRevoke, setToRevoke] = useState<Key | null>(null);
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
                columns={columns(setToRevoke)}
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
      <RevokeDialog target={toRevoke} onClose={() => setToRevoke(null)} />
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

function columns(onRevoke: (key: Key) => void): Column<Key>[] {
  return [
    {
      title: "Name",
      cell: (key) => (
        <>
          <Text size="sm" fw={550}>
            {key.name}
          </Text>
          {key.description && (
            <Text
              size="xs"
              c="dimmed"
              maw={{ base: 130, sm: 280 }}
              truncate
              title={key.description}
            >
              {key.description}
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
    { title: "Created", isSecondary: true, cell: (key) => <Time at={key.created_at} /> },
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
      numeric: true,
      cell: (key) =>
        isUsable(keyState(key)) && (
          <Button
            size="compact-xs"
            variant="subtle"
            color="red"
            aria-label={`Revoke ${key.name}`}
            onClick={() => onRevoke(key)}
          >
            Revoke
          </Button>
        ),
    },
  ];
}

function RevokeDialog({ target, onClose }: { target: Key | null; onClose: () => void }) {
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: revokeKey,
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keysQuery.queryKey });
      onClose();
    },
  });
  return (
    <Modal opened={target !== null} onClose={onClose} title="Revoke this key?" centered>
      <Stack gap="md">
        <Text size="sm">
          Programs that use <b>{target?.name}</b> are refused within a second. This cannot be
          undone.
        </Text>
        {revoke.error && <Failed error={revoke.error} />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>
            Keep it
          </Button>
          <Button
            color="red"
            loading={revoke.isPending}
            onClick={() => target && revoke.mutate(target.id)}
          >
            Revoke
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
