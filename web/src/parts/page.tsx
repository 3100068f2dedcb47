/* page - the frame of a page: its title, one sentence, its actions; and a titled section inside. */
import { Box, Group, Paper, Stack, Text, Title } from "@mantine/core";
import { type ReactNode, useEffect, useId } from "react";

export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · Sluice`;
  }, [title]);
}

export function Page(props: {
  title: string;
  lead?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  useTitle(props.title);
  return (
    <Stack gap="lg" p={{ base: "md", sm: "xl" }} maw={1280} mx="auto">
      <Group justify="space-between" align="flex-end" gap="sm">
        <Box>
          <Title order={1} size="h2">
            {props.title}
          </Title>
          {props.lead && (
            <Text c="dimmed" size="sm" mt={4} component="div">
              {props.lead}
            </Text>
          )}
        </Box>
        {props.actions}
      </Group>
      {props.children}
    </Stack>
  );
}

export function Section(props: { title: string; actions?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <Paper withBorder radius="md" component="section" aria-labelledby={id}>
      <Group justify="space-between" px="md" py="sm" gap="xs">
        <Title order={2} size="h5" id={id}>
          {props.title}
        </Title>
        {props.actions}
      </Group>
      {props.children}
    </Paper>
  );
}
