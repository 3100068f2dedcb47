/* login - who are you. */
import {
  Alert,
  Button,
  Group,
  Paper,
  PasswordInput,
  Stack,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useRouter } from "@tanstack/react-router";
import { type FormEvent, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { logIn } from "../api/session";
import { Icon, Mark } from "../parts/icon";
import { homeOf } from "../parts/nav";
import { useTitle } from "../parts/page";
import { ColorSchemeButton } from "../parts/shell";
import classes from "./login.module.css";

const route = getRouteApi("/login");

export function LoginPage() {
  useTitle("Log in");
  const client = useQueryClient();
  const router = useRouter();
  const { next } = route.useSearch();
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const passwordField = useRef<HTMLInputElement>(null);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      const session = await logIn(client, String(form.get("email")), String(form.get("password")));
      router.history.push(next ?? homeOf(session.user.role));
    } catch (err) {
      setError(messageOf(err));
      setBusy(false);
      passwordField.current?.select();
    }
  };

  return (
    <main className={classes.page}>
      <div className={classes.corner}>
        <ColorSchemeButton />
      </div>
      <Paper withBorder radius="lg" p="xl" className={classes.card}>
        <form onSubmit={(event) => void submit(event)}>
          <Stack gap="md">
            <Group gap="sm">
              <Mark size={34} />
              <div>
                <Title order={1} size="h3" lh={1.1}>
                  Sluice
                </Title>
                <Text size="sm" c="dimmed">
                  Log in to the token factory
                </Text>
              </div>
            </Group>
            {error && (
              <Alert color="red" icon={<Icon name="alert" />} role="alert">
                {error}
              </Alert>
            )}
            <TextInput
              label="Email"
              name="email"
              type="email"
              autoComplete="username"
              required
              withAsterisk={false}
              autoFocus
            />
            <PasswordInput
              label="Password"
              name="password"
              autoComplete="current-password"
              required
              withAsterisk={false}
              ref={passwordField}
              visibilityToggleButtonProps={{ "aria-label": "Show or hide the password" }}
            />
            <Button type="submit" loading={isBusy} fullWidth>
              Log in
            </Button>
          </Stack>
        </form>
      </Paper>
    </main>
  );
}

function messageOf(err: unknown): string {
  if (err instanceof ApiError && err.status === 401) return "Email or password is wrong.";
  return err instanceof Error ? err.message : String(err);
}
