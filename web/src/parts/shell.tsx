/* shell - what is around every page: the menu, who is logged in, light or dark. */
import {
  ActionIcon,
  AppShell,
  Box,
  Burger,
  Group,
  Menu,
  NavLink,
  Stack,
  Text,
  Tooltip,
  UnstyledButton,
  VisuallyHidden,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useRouter, useRouterState } from "@tanstack/react-router";
import { useEffect } from "react";
import { logOut, useSession } from "../api/session";
import { conversation } from "./conversation";
import { Icon, Mark } from "./icon";
import { ROLE_NAMES, navFor } from "./nav";
import { Page } from "./page";
import { playgroundKey } from "./playground_key";
import { Empty, Failed } from "./states";

export function ColorSchemeButton() {
  const { setColorScheme } = useMantineColorScheme();
  const isDark = useComputedColorScheme("light") === "dark";
  const label = isDark ? "Use light colours" : "Use dark colours";
  return (
    <Tooltip label={label} withArrow>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="lg"
        aria-label={label}
        onClick={() => setColorScheme(isDark ? "light" : "dark")}
      >
        <Icon name={isDark ? "sun" : "moon"} />
      </ActionIcon>
    </Tooltip>
  );
}

function AccountMenu() {
  const { user, org } = useSession();
  const client = useQueryClient();
  const router = useRouter();
  const leave = async () => {
    conversation.clear();
    await playgroundKey.drop();
    await logOut(client);
    await router.invalidate();
  };
  return (
    <Menu position="bottom-end" width={240} withArrow>
      <Menu.Target>
        <UnstyledButton px={6} py={4}>
          <Group gap={8} wrap="nowrap">
            <Icon name="user" />
            <VisuallyHidden>Account</VisuallyHidden>
            <Box visibleFrom="sm">
              <Text size="sm" fw={550} lh={1.2}>
                {user.name || user.email}
              </Text>
              <Text size="xs" c="dimmed" lh={1.2}>
                {org ? org.name : ROLE_NAMES[user.role]}
              </Text>
            </Box>
          </Group>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          <Text size="sm" truncate>
            {user.email}
          </Text>
          <Text size="xs">
            {ROLE_NAMES[user.role]}
            {org ? ` of ${org.name}` : ""}
          </Text>
        </Menu.Label>
        <Menu.Divider />
        <Menu.Item leftSection={<Icon name="logout" size={16} />} onClick={() => void leave()}>
          Log out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

export function Shell() {
  const [isOpen, { toggle, close }] = useDisclosure(false);
  const { user } = useSession();
  const path = useRouterState({ select: (state) => state.location.pathname });
  useEffect(close, [path, close]);

  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 220, breakpoint: "sm", collapsed: { mobile: !isOpen } }}
      padding={0}
    >
      <a className="skip" href="#page">
        To the page
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger
              opened={isOpen}
              onClick={toggle}
              hiddenFrom="sm"
              size="sm"
              aria-label={isOpen ? "Close the menu" : "Open the menu"}
              aria-expanded={isOpen}
            />
            <Mark />
            <Text fw={700} size="lg">
              Sluice
            </Text>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <ColorSchemeButton />
            <AccountMenu />
          </Group>
        </Group>
      </AppShell.Header>

      <AppShell.Navbar p="sm" aria-label="Pages">
        <Stack gap="md">
          {navFor(user.role).map((section) => (
            <Box key={section.title}>
              <Text size="xs" c="dimmed" fw={600} px="sm" pb={4}>
                {section.title}
              </Text>
              {section.items.map((item) => (
                <NavLink
                  key={item.to}
                  component={Link}
                  to={item.to}
                  label={item.label}
                  leftSection={<Icon name={item.icon} />}
                  active={path === item.to}
                  aria-current={path === item.to ? "page" : undefined}
                  onClick={close}
                  className="nav"
                />
              ))}
            </Box>
          ))}
        </Stack>
      </AppShell.Navbar>

      <AppShell.Main id="page" tabIndex={-1}>
        <Outlet />
      </AppShell.Main>
    </AppShell>
  );
}

export function PageFailed({ error, reset }: { error: unknown; reset: () => void }) {
  const router = useRouter();
  return (
    <Page title="Something is in the way">
      <Failed
        error={error}
        onRetry={() => {
          reset();
          void router.invalidate();
        }}
      />
    </Page>
  );
}

export function PageMissing() {
  return (
    <Page title="No such page">
      <Empty icon="alert" title="There is nothing at this address">
        <Link to="/">Go to the start</Link>
      </Empty>
    </Page>
  );
}
