/* with_system - starts a whole Sluice on free ports in a folder of its own, runs run.mjs against it,
 * asks `sluice verify` whether the books balance, and stops it. Options go on to run.mjs. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const SLUICE = join(process.env.SLUICE_TEST_BIN, "sluice");
const READY_MS = 120_000;
const STOP_MS = 30_000;

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const data = mkdtempSync(join(tmpdir(), "sluice-browser-"));
const log = join(data, "up.log");
const options = [
  ["--data", data],
  ["--model", process.env.SLUICE_TEST_MODEL],
  ["--web", join(HERE, "..", "..", "web", "dist")],
  ["--bind", "127.0.0.1"],
  ["--api-port", await freePort()],
  ["--gateway-port", await freePort()],
].flat();
const out = openSync(log, "a");
const system = spawn(SLUICE, ["up", ...options.map(String)], { stdio: ["ignore", out, out] });
const ended = new Promise((resolve) =>
  system.once("exit", (code, signal) => resolve(code ?? signal)),
);
let exit = null;
void ended.then((how) => (exit = how));

const demo = join(data, "demo.json");
const deadline = Date.now() + READY_MS;
while (!existsSync(demo) && exit === null && Date.now() < deadline) await sleep(100);
let failed = 1;
if (existsSync(demo)) {
  const args = [join(HERE, "run.mjs"), "--demo", demo, ...process.argv.slice(2)];
  failed = spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1;
  const verify = spawnSync(SLUICE, ["verify", "--data", data], { encoding: "utf8" });
  console.log(`sluice verify: exit ${verify.status}\n${verify.stdout}${verify.stderr}`.trimEnd());
  if (verify.status !== 0) failed ||= 1;
} else {
  console.log(`sluice up is not ready${exit === null ? "" : `, it ended with ${exit}`}`);
}
if (failed) console.log(readFileSync(log, "utf8").slice(-3000));

system.kill("SIGTERM");
const how = await Promise.race([ended, sleep(STOP_MS, "not at all")]);
if (how !== 0) {
  console.log(`after SIGTERM sluice up ended ${how === "not at all" ? how : `with ${how}`}`);
  if (exit === null) system.kill("SIGKILL");
  failed ||= 1;
}
if (!failed) rmSync(data, { recursive: true, force: true });
process.exit(failed);
