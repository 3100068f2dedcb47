/* cases - what a person can count on in the console. Each runs alone, on a fresh visit. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { NARROW } from "./browser.mjs";
import { keyCases } from "./cases_keys.mjs";
import { playgroundCases } from "./cases_playground.mjs";
import { ask, costOf, requestIdOf } from "./steps.mjs";

const sessionCases = {
  "a wrong password shows an error and lets nobody in": async ({ page, system }) => {
    await page.goto(`${system.base}/`);
    await page.getByLabel("Email").fill(system.user.email);
    await page.locator("input[name=password]").fill("certainly not this one");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").filter({ hasText: "Email or password is wrong" }).waitFor();
    await page.goto(`${system.base}/usage`);
    await page.getByLabel("Email").waitFor();
  },

  "log-in leads to the page that was asked for, and log-out back out": async ({ page, system }) => {
    await page.goto(`${system.base}/usage?range=30d`);
    await page.getByLabel("Email").fill(system.user.email);
    await page.locator("input[name=password]").fill(system.user.password);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
    assert.match(page.url(), /\/usage\?range=30d$/);
    await page.getByRole("button", { name: "Account" }).click();
    await page.getByRole("menuitem", { name: "Log out" }).click();
    await page.getByLabel("Email").waitFor();
    await page.goto(`${system.base}/keys`);
    await page.getByLabel("Email").waitFor();
  },

  "a session that has ended elsewhere leads to the log-in, and back": async (visit) => {
    const { page, context, system } = visit;
    visit.expectNoise(/401/);
    await visit.logIn();
    await page.goto(`${system.base}/usage`);
    await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
    await context.clearCookies();
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.getByLabel("Email").fill(system.user.email);
    await page.locator("input[name=password]").fill(system.user.password);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
  },

  "log-in does not lead to another site": async ({ page, system }) => {
    await page.goto(`${system.base}/login?next=${encodeURIComponent("//example.com/x")}`);
    await page.getByLabel("Email").fill(system.user.email);
    await page.locator("input[name=password]").fill(system.user.password);
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Account" }).waitFor();
    assert.equal(new URL(page.url()).origin, new URL(system.base).origin);
  },

  "the page runs under a strict content security policy": async (visit) => {
    const { page, system } = visit;
    const response = await page.goto(`${system.base}/`);
    const policy = response.headers()["content-security-policy"] ?? "";
    const directives = new Map(
      policy.split(";").map((part) => {
        const [name, ...sources] = part.trim().split(/\s+/);
        return [name, sources];
      }),
    );
    const scripts = directives.get("script-src") ?? directives.get("default-src");
    assert.deepEqual(scripts, ["'self'"], `script-src in: ${policy}`);
    assert.deepEqual(
      directives.get("frame-ancestors"),
      ["'none'"],
      `frame-ancestors in: ${policy}`,
    );
    /* And the browser enforces it: an inline script does not run. */
    visit.expectNoise(/Content Security Policy/);
    const ran = await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "globalThis.inlineRan = true";
      document.head.append(script);
      return globalThis.inlineRan === true;
    });
    assert.equal(ran, false, "an inline script ran");
  },
};

const usageCases = {
  "the usage page shows a request with the playground's own cost": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await ask(page, "Say one word.", { maxTokens: 12 });
    const cost = await costOf(page);
    const requestId = await requestIdOf(page);
    await page.getByRole("link", { name: "Usage" }).click();
    await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
    const row = page
      .getByRole("table", { name: "Recent requests" })
      .getByRole("row", { name: requestId });
    await row.waitFor();
    assert.equal(await row.locator("[data-cost]").getAttribute("data-cost"), cost);
    await visit.shot("usage");
  },

  "the sum row is the exact sum of the rows, and the CSV says the same": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await ask(page, "Say one word.", { maxTokens: 4 });
    await costOf(page);
    await page.getByRole("link", { name: "Usage" }).click();
    const table = page.getByRole("table", { name: "Usage by deployment" });
    await table.waitFor();
    const costs = await table
      .locator("[data-cost]")
      .evaluateAll((all) => all.map((one) => one.getAttribute("data-cost")));
    const total = costs.pop();
    assert.ok(costs.length > 0);
    assert.equal(
      picoOf(total),
      costs.reduce((sum, cost) => sum + picoOf(cost), 0n),
    );

    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save usage by deployment as CSV" }).click();
    const file = await download;
    assert.match(file.suggestedFilename(), /^usage-by-deployment-.*\.csv$/);
    const [head, ...lines] = (await readFile(await file.path(), "utf8")).trim().split("\r\n");
    const at = head.split(",").indexOf("Cost");
    assert.deepEqual(
      lines.map((line) => picoOf(line.split(",")[at])),
      costs.map(picoOf),
    );
  },

  "the chart draws, and reads as a table too": async (visit) => {
    const { page, system } = visit;
    await visit.logIn();
    await ask(page, "Say one word.", { maxTokens: 4 });
    await costOf(page);
    await page.goto(`${system.base}/usage?range=24h`);
    const chart = page.getByRole("img", { name: /Tokens by hour/ });
    await chart.locator(".recharts-bar-rectangle path").first().waitFor({ state: "attached" });
    await page.getByText("Table", { exact: true }).click();
    await page.getByRole("table", { name: "Usage by hour" }).getByRole("row").nth(1).waitFor();
  },

  "filters stand in the address and narrow what is shown": async (visit) => {
    const { page, system } = visit;
    await visit.logIn();
    await ask(page, "Say one word.", { maxTokens: 4 });
    await costOf(page);
    await page.goto(`${system.base}/usage`);
    await page.getByRole("table", { name: "Usage by deployment" }).waitFor();
    await page.getByRole("combobox", { name: "Split by" }).click();
    await page.getByRole("option", { name: "API key" }).click();
    await page.getByRole("table", { name: "Usage by key" }).waitFor();
    assert.match(page.url(), /by=key/);
    /* Days long before there was anything. */
    await page.goto(`${system.base}/usage?range=custom&from=2001-01-01&to=2001-01-02`);
    await page.getByText("Nothing was used in this time").waitFor();
    await page.getByText("No request in this time").waitFor();
  },
};

function picoOf(decimal) {
  const [whole, fraction = ""] = decimal.split(".");
  return BigInt(whole) * 10n ** 12n + BigInt(fraction.padEnd(12, "0"));
}

const layoutCases = {
  "nothing scrolls sideways on a phone": async (visit) => {
    const { page, system } = visit;
    await page.setViewportSize(NARROW);
    await page.goto(`${system.base}/`);
    await page.getByLabel("Email").waitFor();
    await visit.assertNoSidewaysScroll("log-in");
    await visit.logIn();
    await ask(page, "Say one word.", { maxTokens: 8 });
    await costOf(page);
    await visit.assertNoSidewaysScroll("playground");
    await visit.shot("playground-narrow");
    await page.getByRole("button", { name: "Open the menu" }).click();
    await page.getByRole("link", { name: "Usage" }).click();
    await page.getByRole("table", { name: "Recent requests" }).waitFor();
    await visit.assertNoSidewaysScroll("usage");
    await visit.shot("usage-narrow");
    await page.getByRole("button", { name: "Open the menu" }).click();
    await page.getByRole("link", { name: "API keys" }).click();
    await page.getByRole("heading", { name: "API keys" }).waitFor();
    await visit.assertNoSidewaysScroll("keys");
    await visit.shot("keys-narrow");
  },

  "dark and light can be chosen, and the choice stays": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    const luminance = () =>
      page.evaluate(() => {
        const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
        return (r + g + b) / 3;
      });
    assert.ok((await luminance()) > 200, "light at first");
    await page.getByRole("button", { name: "Use dark colours" }).click();
    await page.getByRole("button", { name: "Use light colours" }).waitFor();
    assert.ok((await luminance()) < 60, "dark when asked for");
    await page.reload();
    await page.getByRole("button", { name: "Use light colours" }).waitFor();
    assert.ok((await luminance()) < 60, "dark after a reload");
    await visit.shot("playground-dark");
  },

  "axe finds nothing serious, in light and in dark": async (visit) => {
    const { page, system } = visit;
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await visit.context.clearCookies();
      await page.goto(`${system.base}/`);
      await page.getByLabel("Email").waitFor();
      await visit.assertAccessible(`log-in, ${colorScheme}`);
      await visit.logIn();
      await ask(page, "Say one word.", { maxTokens: 8 });
      await costOf(page);
      await visit.assertAccessible(`playground, ${colorScheme}`);
      await page.getByRole("tab", { name: "curl" }).click();
      await visit.assertAccessible(`curl, ${colorScheme}`);
      await page.getByRole("link", { name: "Usage" }).click();
      await page.getByRole("table", { name: "Recent requests" }).waitFor();
      await visit.assertAccessible(`usage, ${colorScheme}`);
      await page.getByRole("link", { name: "API keys" }).click();
      await page.getByRole("button", { name: "New key" }).click();
      await page.getByLabel("Name").waitFor();
      await visit.assertAccessible(`keys, ${colorScheme}`);
    }
  },
};

const operatorCases = {
  "a member finds no way to the operator's page": async (visit) => {
    const { page, system } = visit;
    await visit.logIn();
    assert.equal(await page.getByRole("link", { name: "Overview" }).count(), 0);
    await page.goto(`${system.base}/overview`);
    await page.getByRole("alert").filter({ hasText: "for operators" }).waitFor();
  },

  "an operator can try as an org with a key of it": async (visit) => {
    const { page, system } = visit;
    if (!system.operator.email || !system.key) return "no operator and key were given";
    await visit.logIn(system.operator);
    await page.getByRole("link", { name: "Playground" }).click();
    await page.getByText("Paste a key to talk").waitFor();
    await page.getByLabel("Message", { exact: true }).fill("Hello.");
    assert.equal(await page.getByRole("button", { name: "Send" }).isDisabled(), true);
    await page.getByRole("button", { name: "Use a key of mine" }).click();
    await page.getByLabel("API key", { exact: true }).fill(system.key);
    await page.getByRole("button", { name: "Use it" }).click();
    await ask(page, "Say one word.", { maxTokens: 4 });
    await costOf(page);
  },

  "an operator sees what runs and for whom": async (visit) => {
    const { page, system } = visit;
    if (!system.operator.email) return "no operator was given";
    await visit.logIn(system.operator);
    const deployments = page.getByRole("table", { name: "Deployments" });
    await deployments.getByText("running").first().waitFor();
    await page.getByRole("table", { name: "Orgs" }).getByText("active").first().waitFor();
    await visit.assertAccessible("overview");
    await visit.shot("overview");
  },
};

export const cases = {
  ...sessionCases,
  ...playgroundCases,
  ...usageCases,
  ...keyCases,
  ...layoutCases,
  ...operatorCases,
};
