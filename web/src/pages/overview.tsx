/* overview - the operator's first look: what runs, for whom. It refreshes itself. */
import { Code, SimpleGrid, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import {
  deploymentsQuery,
  endpointsQuery,
  modelsQuery,
  orgsQuery,
  usersQuery,
} from "../api/catalog";
import type { Deployment, Org } from "../api/types";
import { StateBadge } from "../parts/deployment_state";
import { formatCount } from "../parts/format";
import { Page, Section } from "../parts/page";
import { Stat } from "../parts/stat";
import { Await, Empty } from "../parts/states";
import { type Column, DataTable } from "../parts/table";
import { Tag } from "../parts/tag";
import { Time } from "../parts/time";

const REFRESH_MS = 4000;

export function OverviewPage() {
  const deployments = useQuery({ ...deploymentsQuery, refetchInterval: REFRESH_MS });
  const orgs = useQuery({ ...orgsQuery, refetchInterval: 4 * REFRESH_MS });
  const users = useQuery(usersQuery);
  const models = useQuery(modelsQuery);
  const endpoints = useQuery(endpointsQuery);
  const modelNames = namesOf(models.data);
  const endpointNames = namesOf(endpoints.data);

  return (
    <Page title="Overview" lead="What runs here, and for whom.">
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="md">
        <Stat label="Deployments running">
          {countOf(deployments.data, (d) => d.state === "running")} / {countOf(deployments.data)}
        </Stat>
        <Stat label="Models">{countOf(models.data)}</Stat>
        <Stat label="Orgs">{countOf(orgs.data)}</Stat>
        <Stat label="Users">{countOf(users.data)}</Stat>
      </SimpleGrid>
      <Section title="Deployments">
        <Await query={deployments}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty icon="gauge" title="Nothing is deployed yet" />
            ) : (
              <DataTable
                label="Deployments"
                columns={deploymentColumns(modelNames, endpointNames)}
                rows={rows}
                rowKey={(deployment) => deployment.id}
                minWidth={820}
              />
            )
          }
        </Await>
      </Section>
      <Section title="Orgs">
        <Await query={orgs}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty icon="user" title="No org yet" />
            ) : (
              <DataTable
                label="Orgs"
                columns={orgColumns((id) => countOf(users.data, (user) => user.org_id === id))}
                rows={rows}
                rowKey={(org) => org.id}
                minWidth={560}
                narrowWidth={300}
              />
            )
          }
        </Await>
      </Section>
    </Page>
  );
}

type Names = ReadonlyMap<string, string>;
function namesOf(rows: readonly { id: string; name: string }[] | undefined): Names {
  return new Map((rows ?? []).map(({ id, name }) => [id, name]));
}

function countOf<Row>(rows: readonly Row[] | undefined, test: (row: Row) => boolean = () => true) {
  return rows ? formatCount(rows.filter(test).length) : "–";
}

function deploymentColumns(models: Names, endpoints: Names): Column<Deployment>[] {
  return [
    {
      title: "Name",
      cell: (deployment) => (
        <>
          <Text size="sm" fw={550}>
            {deployment.name}
          </Text>
          {deployment.served_name && (
            <Text size="xs" c="dimmed">
              as <Code fz={11}>{deployment.served_name}</Code>
            </Text>
          )}
        </>
      ),
    },
    {
      title: "State",
      cell: (deployment) => (
        <>
          <StateBadge deployment={deployment} />
          {deployment.state !== "running" && deployment.state_reason && (
            <Text size="xs" c="dimmed" maw={280} truncate>
              {deployment.state_reason}
            </Text>
          )}
        </>
      ),
    },
    { title: "Replicas", numeric: true, cell: (deployment) => replicasOf(deployment) },
    {
      title: "Model",
      cell: (deployment) => models.get(deployment.model_id) ?? deployment.model_id,
    },
    {
      title: "Endpoint",
      cell: (deployment) => endpoints.get(deployment.endpoint_id) ?? deployment.endpoint_id,
    },
    { title: "Engine", cell: (deployment) => deployment.engine },
    { title: "Created", cell: (deployment) => <Time at={deployment.created_at} /> },
  ];
}

/* "1 / 2": serving of wanted. The list of replicas is JSON of the reconciler's own. */
function replicasOf(deployment: Deployment): string {
  const list: unknown = deployment.replica_list;
  if (!Array.isArray(list)) return String(deployment.replicas);
  const serving = list.filter((one: { state?: string }) => one.state === "running").length;
  return `${serving} / ${deployment.replicas}`;
}

function orgColumns(usersOf: (orgId: string) => string): Column<Org>[] {
  return [
    {
      title: "Name",
      cell: (org) => (
        <Text size="sm" fw={550}>
          {org.name}
        </Text>
      ),
    },
    {
      title: "Status",
      cell: (org) => <Tag color={org.status === "active" ? "teal" : "red"}>{org.status}</Tag>,
    },
    { title: "Users", numeric: true, cell: (org) => usersOf(org.id) },
    { title: "Id", isSecondary: true, cell: (org) => <Code fz={11}>{org.id}</Code> },
    { title: "Created", isSecondary: true, cell: (org) => <Time at={org.created_at} /> },
  ];
}
