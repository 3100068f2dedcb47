/* table - rows under named columns. A table wider than its place scrolls inside it, never the page.
 * The same columns make the CSV, so a file holds what the screen shows. */
import { Table, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { type Cell, csvOf } from "./csv";
import classes from "./table.module.css";

export interface Column<Row> {
  title: string;
  cell?: (row: Row) => ReactNode; /* absent: not on the screen */
  csv?: (row: Row) => Cell; /* absent: not in the file */
  numeric?: boolean;
  isAction?: boolean; /* stays in sight at the right edge */
  isSecondary?: boolean; /* not on a narrow screen */
  foot?: ReactNode;
}

export function DataTable<Row>(props: {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  minWidth?: number;
  narrowWidth?: number; /* of a narrow screen, without the secondary columns */
}) {
  const { rows } = props;
  const columns = props.columns.filter((column) => column.cell);
  const wide = props.minWidth ?? 600;
  const hasFoot = columns.some((column) => column.foot !== undefined);
  return (
    <Table.ScrollContainer minWidth={0} type="native">
      <Table
        aria-label={props.label}
        verticalSpacing="xs"
        horizontalSpacing="md"
        highlightOnHover
        miw={{ base: props.narrowWidth ?? wide, sm: wide }}
        className={classes.table}
      >
        <Table.Thead>
          <Table.Tr>
            {columns.map((column) => (
              <Table.Th key={column.title} scope="col" {...placeOf(column)}>
                <Text span size="xs" c="dimmed" fw={600}>
                  {column.title}
                </Text>
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((row) => (
            <Table.Tr key={props.rowKey(row)}>
              {columns.map((column) => (
                <Table.Td key={column.title} {...placeOf(column)}>
                  {column.cell?.(row)}
                </Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
        {hasFoot && (
          <Table.Tfoot>
            <Table.Tr>
              {columns.map((column) => (
                <Table.Td key={column.title} {...placeOf(column)}>
                  {column.foot}
                </Table.Td>
              ))}
            </Table.Tr>
          </Table.Tfoot>
        )}
      </Table>
    </Table.ScrollContainer>
  );
}

function placeOf<Row>(column: Column<Row>) {
  const names = [column.numeric && classes.numeric, column.isAction && classes.action];
  return {
    className: names.filter(Boolean).join(" "),
    ...(column.isSecondary ? { visibleFrom: "sm" as const } : {}),
  };
}

export function tableCsv<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const inFile = columns.flatMap(({ title, csv }) => (csv ? [{ title, csv }] : []));
  return csvOf([inFile.map((c) => c.title), ...rows.map((row) => inFile.map((c) => c.csv(row)))]);
}
