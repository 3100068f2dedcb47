/* stat - one number that matters, with its name. */
import { Paper, Text } from "@mantine/core";
import type { ReactNode } from "react";

export function Stat(props: {
  label: string;
  children: ReactNode;
  note?: ReactNode;
  isWide?: boolean; /* two columns of the grid where it is narrow */
}) {
  return (
    <Paper
      withBorder
      radius="md"
      px="md"
      py="sm"
      style={props.isWide ? { gridColumn: "span var(--stat-span, 1)" } : undefined}
    >
      <Text size="xs" c="dimmed" fw={600}>
        {props.label}
      </Text>
      <Text fz={22} fw={650} lh={1.3} component="div" className="numbers wraps">
        {props.children}
      </Text>
      {props.note && (
        <Text size="xs" c="dimmed" component="div">
          {props.note}
        </Text>
      )}
    </Paper>
  );
}
