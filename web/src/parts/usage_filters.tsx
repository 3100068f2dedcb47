/* usage_filters - which time, whose tokens, split by what. What is chosen stands in the address. */
import { Group, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { deploymentsQuery } from "../api/catalog";
import { useSession } from "../api/session";
import type { Dimension } from "../api/usage";
import { DAY_MS, DIMENSIONS, RANGES, type Range, type UsageSearch, dayOf } from "./usage_search";

/* Side by side on a narrow screen. */
const HALF = { base: "calc(50% - 8px)", sm: 170 };

export function UsageFilters(props: {
  search: UsageSearch;
  now: number;
  onSearch: (search: UsageSearch) => void;
}) {
  const { search, now, onSearch } = props;
  const { user } = useSession();
  const deployments = useQuery(deploymentsQuery);
  const range = search.range ?? "7d";
  const changeRange = (next: Range) => {
    const { from: _from, to: _to, ...rest } = search;
    onSearch(
      next === "custom"
        ? { ...rest, range: next, from: dayOf(now - 6 * DAY_MS), to: dayOf(now) }
        : { ...rest, range: next },
    );
  };
  const changeDeployment = (next: string | null) => {
    const { deployment: _deployment, ...rest } = search;
    onSearch(next ? { ...rest, deployment: next } : rest);
  };
  const dimensions = Object.entries(DIMENSIONS).filter(
    ([name]) => name !== "org" || user.role === "operator",
  );

  return (
    <Group gap="md" align="flex-end">
      <Select
        label="Time"
        w={HALF}
        allowDeselect={false}
        value={range}
        data={Object.entries(RANGES).map(([value, label]) => ({ value, label }))}
        onChange={(next) => changeRange(next as Range)}
      />
      {range === "custom" && (
        <>
          <DayField
            label="From"
            value={search.from}
            max={search.to}
            onChange={(from) => onSearch({ ...search, from })}
          />
          <DayField
            label="To"
            value={search.to}
            min={search.from}
            onChange={(to) => onSearch({ ...search, to })}
          />
        </>
      )}
      <Select
        label="Split by"
        w={HALF}
        allowDeselect={false}
        value={search.by ?? "deployment"}
        data={dimensions.map(([value, label]) => ({ value, label }))}
        onChange={(next) => onSearch({ ...search, by: next as Dimension })}
      />
      <Select
        label="Deployment"
        w={{ base: "100%", sm: 240 }}
        placeholder="All"
        clearable
        searchable
        value={search.deployment ?? null}
        data={(deployments.data ?? []).map(({ id, name }) => ({ value: id, label: name }))}
        onChange={changeDeployment}
      />
    </Group>
  );
}

function DayField(props: {
  label: string;
  value: string | undefined;
  min?: string | undefined;
  max?: string | undefined;
  onChange: (day: string) => void;
}) {
  return (
    <TextInput
      type="date"
      w={HALF}
      label={props.label}
      value={props.value ?? ""}
      min={props.min}
      max={props.max}
      required
      withAsterisk={false}
      onChange={(event) => {
        if (event.currentTarget.value) props.onChange(event.currentTarget.value);
      }}
    />
  );
}
