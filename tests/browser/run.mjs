/* run - the console in a real browser, against a running system.
 *
 *   node run.mjs --demo DIR/demo.json
 *   node run.mjs --base URL --email EMAIL --password PASSWORD [--operator-email E --operator-password P]
 *
 * Options: --only WORD (cases whose name has it), --shots DIR (a picture of each page, and of the
 * page at each failure). Prints a line for each case and "N passed, N failed"; exit 1 when any
 * failed. Needs Chromium at $CHROMIUM or /usr/bin/chromium. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { launch } from "./browser.mjs";
import { cases } from "./cases.mjs";

const { values: args } = parseArgs({
  options: {
    demo: { type: "string" },
    base: { type: "string" },
    email: { type: "string" },
    password: { type: "string" },
    "operator-email": { type: "string" },
    "operator-password": { type: "string" },
    only: { type: "string" },
    shots: { type: "string" },
  },
});

function systemOf() {
  const demo = args.demo ? JSON.parse(readFileSync(args.demo, "utf8")) : {};
  const system = {
    base: (args.base ?? demo.console ?? "").replace(/\/+$/, ""),
    user: {
      email: args.email ?? demo.user?.email,
      password: args.password ?? demo.user?.password,
    },
    key: demo.api_key,
    operator: {
      email: args["operator-email"] ?? demo.operator?.email,
      password: args["operator-password"] ?? demo.operator?.password,
      token: demo.operator?.token,
    },
  };
  if (!system.base || !system.user.email || !system.user.password) {
    console.error("usage: node run.mjs --demo FILE | --base URL --email EMAIL --password PASSWORD");
    process.exit(2);
  }
  return system;
}

const system = systemOf();
const browser = await launch();
let passed = 0;
let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  if (args.only && !name.includes(args.only)) continue;
  const visit = await browser.visit(system, args.shots);
  const start = Date.now();
  try {
    const skipped = await run(visit);
    visit.assertNoNoise();
    if (skipped) console.log(`skip  ${name}: ${skipped}`);
    else {
      passed++;
      console.log(`ok    ${name} (${Date.now() - start} ms)`);
    }
  } catch (err) {
    failed++;
    console.log(`FAIL  ${name}\n      ${String(err.stack ?? err).replaceAll("\n", "\n      ")}`);
    await visit.shot(`failed-${name.replaceAll(/\W+/g, "-")}`).catch(() => undefined);
  } finally {
    await visit.close();
  }
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
