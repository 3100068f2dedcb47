/* router - which page is at which address, and who may open it.
 *
 *   /login                        anybody
 *   the shell ── /playground /usage /keys     whoever is logged in
 *             └─ /overview                    operators
 *
 * A new page is one entry here and, to be found, one in parts/nav.ts. Each page is its own chunk. */
import type { QueryClient } from "@tanstack/react-query";
import {
  Outlet,
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import { ApiError } from "./api/client";
import { sessionQuery } from "./api/session";
import type { Role } from "./api/types";
import { readUsageSearch } from "./parts/usage_search";
import { homeOf } from "./parts/nav";
import { PageFailed, PageMissing, Shell } from "./parts/shell";
import { Loading } from "./parts/states";

const rootRoute = createRootRouteWithContext<{ client: QueryClient }>()({
  component: Outlet,
  errorComponent: PageFailed,
});

const loginRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/login",
  validateSearch: (search: Record<string, unknown>): { next?: string | undefined } => {
    /* A key that is left out would keep what the address says, so each is set.
     * Only a path of our own: a full address here would send people anywhere after log-in. */
    const next = search.next;
    return typeof next === "string" && /^\/(?![/\\])/.test(next) ? { next } : { next: undefined };
  },
  beforeLoad: async ({ context }) => {
    const session = await context.client.ensureQueryData(sessionQuery);
    if (session) throw redirect({ to: homeOf(session.user.role) });
  },
  component: lazyRouteComponent(() => import("./pages/login"), "LoginPage"),
});

const insideRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "inside",
  beforeLoad: async ({ context, location }) => {
    const session = await context.client.ensureQueryData(sessionQuery);
    if (session) return { session };
    const next = location.href;
    throw redirect({ to: "/login", search: next === "/" ? {} : { next } });
  },
  component: Shell,
  errorComponent: PageFailed,
});

const homeRoute = createRoute({
  getParentRoute: () => insideRoute,
  path: "/",
  beforeLoad: ({ context }) => {
    throw redirect({ to: homeOf(context.session.user.role) });
  },
});

const playgroundRoute = createRoute({
  getParentRoute: () => insideRoute,
  path: "/playground",
  component: lazyRouteComponent(() => import("./pages/playground"), "PlaygroundPage"),
});

const usageRoute = createRoute({
  getParentRoute: () => insideRoute,
  path: "/usage",
  validateSearch: readUsageSearch,
  component: lazyRouteComponent(() => import("./pages/usage"), "UsagePage"),
});

const keysRoute = createRoute({
  getParentRoute: () => insideRoute,
  path: "/keys",
  component: lazyRouteComponent(() => import("./pages/keys"), "KeysPage"),
});

function onlyFor(...roles: Role[]) {
  return ({ context }: { context: { session: { user: { role: Role } } } }) => {
    if (!roles.includes(context.session.user.role))
      throw new ApiError(403, "forbidden", "This page is for operators.");
  };
}

const overviewRoute = createRoute({
  getParentRoute: () => insideRoute,
  path: "/overview",
  beforeLoad: onlyFor("operator"),
  component: lazyRouteComponent(() => import("./pages/overview"), "OverviewPage"),
  errorComponent: PageFailed,
});

const tree = rootRoute.addChildren([
  loginRoute,
  insideRoute.addChildren([homeRoute, playgroundRoute, usageRoute, keysRoute, overviewRoute]),
]);

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: tree,
    context: { client },
    defaultPreload: "intent",
    defaultPendingComponent: Loading,
    defaultNotFoundComponent: PageMissing,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
