/* states - what stands where data is not: on its way, none there, or refused. */
import {
  Alert,
  Button,
  Center,
  Loader,
  Stack,
  Text,
  ThemeIcon,
  VisuallyHidden,
} from "@mantine/core";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { Icon, type IconName } from "./icon";

export function Loading({ label = "Loading" }: { label?: string }) {
  return (
    <Center py="xl" role="status">
      <Loader size="sm" aria-hidden="true" />
      <VisuallyHidden>{label}</VisuallyHidden>
    </Center>
  );
}

export function Empty(props: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py="xl" px="md" ta="center">
      <ThemeIcon variant="light" size={44} radius="xl">
        <Icon name={props.icon} size={22} />
      </ThemeIcon>
      <Text fw={600}>{props.title}</Text>
      {props.children && (
        <Text size="sm" c="dimmed" maw={440} component="div">
          {props.children}
        </Text>
      )}
    </Stack>
  );
}

export function Failed({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  return (
    <Alert color="red" icon={<Icon name="alert" />} title={titleOf(error)} role="alert">
      <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text>
      {onRetry && (
        <Button mt="sm" size="xs" variant="default" onClick={onRetry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

function titleOf(error: unknown): string {
  if (!(error instanceof ApiError)) return "That did not work";
  if (error.status === 0) return "No connection";
  if (error.status === 403) return "Your role does not allow this";
  if (error.status === 404) return "Not found";
  if (error.status === 429) return "Too many requests";
  return "That did not work";
}

/* Data, or whatever stands in for it. */
export function Await<T>(props: {
  query: { data: T | undefined; error: unknown; refetch: () => unknown };
  children: (data: T) => ReactNode;
}) {
  const { data, error, refetch } = props.query;
  if (data !== undefined) return props.children(data);
  if (error) return <Failed error={error} onRetry={() => void refetch()} />;
  return <Loading />;
}
