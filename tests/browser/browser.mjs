/* browser - one Chromium; each case visits in a context of its own, as a new visitor would. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function launch() {
  const chrome = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
  });
  return {
    visit: (system, shots) => newVisit(chrome, system, shots),
    close: () => chrome.close(),
  };
}

async function newVisit(chrome, system, shots) {
  const context = await chrome.newContext({ viewport: WIDE, acceptDownloads: true });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const noise = [];
  const expected = [];
  page.on("pageerror", (err) => noise.push(`exception: ${err.message}`));
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    noise.push(`${message.type()}: ${message.text()} ${message.location().url}`);
  });
  /* Asking who is logged in is answered with 401 while nobody is: the browser notes each. */
  expected.push(/401.*\/api\/v1\/session$/);

  const visit = {
    system,
    page,
    context,
    /* This case makes the browser note something that matches. */
    expectNoise: (pattern) => expected.push(pattern),
    assertNoNoise() {
      const left = noise.filter((line) => !expected.some((pattern) => pattern.test(line)));
      assert.deepEqual(left, [], "the browser's console has errors");
    },
    async logIn(who = system.user) {
      await page.goto(`${system.base}/`);
      await page.getByLabel("Email").fill(who.email);
      await page.locator("input[name=password]").fill(who.password);
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByRole("button", { name: "Account" }).waitFor();
    },
    async shot(name) {
      if (!shots) return;
      mkdirSync(shots, { recursive: true });
      await page.waitForTimeout(400); /* transitions */
      await page.screenshot({ path: join(shots, `${name}.png`) });
    },
    async assertNoSidewaysScroll(where) {
      const over = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.ok(over <= 0, `${where} scrolls sideways by ${over} px`);
    },
    /* What axe finds wrong on the page as it is, from "serious" up. */
    async assertAccessible(where) {
      await page.waitForTimeout(400); /* colours in transition have false contrasts */
      await page.evaluate(AXE);
      const found = await page.evaluate(async () =>
        (await globalThis.axe.run({ resultTypes: ["violations"] })).violations
          .filter((v) => v.impact === "serious" || v.impact === "critical")
          .map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 140)).join(" | ")}`),
      );
      assert.deepEqual(found, [], `axe on ${where}`);
    },
    close: () => context.close(),
  };
  return visit;
}
