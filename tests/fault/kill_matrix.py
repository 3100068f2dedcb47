#!/usr/bin/env python3
"""kill -9 of gateway, engine and control plane at seeded random instants under load; then the books are read.

    kill_matrix.py [--kills 100] [--seed 1] [--clients 5] [--bin DIR] [--keep]

SLUICE_TEST_BIN and SLUICE_TEST_MODEL name programs and model; Python's own library only. What is checked:
  - `sluice verify` is clean on what each death of the control plane left, and at the end;
  - every request whose answer ended before the client's eyes has exactly one row, with the tokens the client was told;
  - every request that got as far as an answer's head has exactly one row, and that bills at least what the client saw
    and at most what it allowed;
  - nothing is open at the end; rows, their sums, and sums of the rows agree."""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
from system import System  # noqa: E402

TARGETS = ["gateway", "gateway", "gateway", "engine-0", "sluice"]  # a gateway is back soonest, so it dies most
RECOVER_S = 60


class Load:
    """Clients that ask without end and write down what they were told."""

    def __init__(self, system, seed, n):
        self.system, self.lock, self.stopping = system, threading.Lock(), threading.Event()
        self.answered = {}  # id → (prompt, cached, completion), or None when no usage was asked for
        self.cut = {}  # id → (pieces seen, most tokens)
        self.statuses = collections.Counter()
        self.threads = [threading.Thread(target=self.run, args=(random.Random(f"{seed}-{i}"),), daemon=True) for i in range(n)]

    def start(self):
        for t in self.threads:
            t.start()

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(60)

    def run(self, rng):
        while not self.stopping.is_set():
            try:
                self.ask(rng)
            except (OSError, http.client.HTTPException, ValueError):
                self.statuses["no answer"] += 1
                self.stopping.wait(0.1)  # nobody listens: a client waits before it tries again

    def ask(self, rng):
        stream, most = rng.random() < 0.7, rng.randint(2, 24)
        hang_up_after = rng.randint(0, 8) if stream and rng.random() < 0.3 else None
        with_usage = rng.random() < 0.7
        topic = " ".join(rng.choice(["sea", "tree", "sun", "road", "bread", "clock"]) for _ in range(rng.randint(1, 30)))
        body = {"model": self.system.demo["model"], "max_tokens": most, "temperature": 0.8,
                "messages": [{"role": "user", "content": f"Tell me about {topic}."}]}
        if stream:
            body["stream"] = True
            if with_usage:
                body["stream_options"] = {"include_usage": True}
        c = http.client.HTTPConnection("127.0.0.1", self.system.gateway_port, timeout=30)
        try:
            c.request("POST", "/v1/chat/completions", json.dumps(body), {
                "Authorization": f"Bearer {self.system.demo['api_key']}", "Content-Type": "application/json"})
            r = c.getresponse()
            self.statuses[r.status] += 1
            if r.status != 200:
                r.read()
                self.stopping.wait(0.05)
                return
            request_id = r.headers["x-request-id"]
            if stream:
                self.follow(r, request_id, most, hang_up_after, with_usage)
            else:
                self.whole(r, request_id, most)
        finally:
            c.close()

    def whole(self, r, request_id, most):
        with self.lock:
            self.cut[request_id] = (0, most)
        self.done(request_id, json.loads(r.read())["usage"])

    def follow(self, r, request_id, most, hang_up_after, with_usage):
        seen, usage = 0, None
        with self.lock:
            self.cut[request_id] = (0, most)
        while True:
            line = r.readline()
            if not line:
                return
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self.done(request_id, usage if with_usage else None)
                return
            chunk = json.loads(data)
            if "error" in chunk:  # the engine died under it
                self.statuses["broken off"] += 1
                return
            usage = chunk.get("usage") or usage
            if any(choice["delta"].get("content") for choice in chunk["choices"]):
                seen += 1
                with self.lock:
                    self.cut[request_id] = (seen, most)
            if hang_up_after is not None and seen >= hang_up_after:
                self.statuses["hung up"] += 1
                return

    def done(self, request_id, usage):
        told = None
        if usage:
            told = (usage["prompt_tokens"], (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0), usage["completion_tokens"])
        with self.lock:
            del self.cut[request_id]
            self.answered[request_id] = told


class Matrix:
    def __init__(self, args):
        self.args, self.rng = args, random.Random(args.seed)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sluice-kill-"))
        self.system = System(args.bin, str(self.dir / "data"), args.model)
        self.system.start()
        self.load = Load(self.system, args.seed, args.clients)
        self.kills, self.faults = collections.Counter(), []

    def spawn(self):
        s = self.system
        s.process = subprocess.Popen(
            [s.bin / "sluice", "up", "--data", s.data, "--bind", "127.0.0.1", "--api-port", str(s.api_port), "--gateway-port",
             str(s.gateway_port)], stdout=s.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def fault(self, text):
        self.faults.append(text)
        print("FAULT", text, flush=True)

    def verify(self, when):
        code, out = self.system.verify()
        if code != 0:
            self.fault(f"verify {when}: exit {code}\n{out}")

    def await_answers(self, n):
        """Until n more answers have ended; a system that does not come back is a fault."""
        want, until = len(self.load.answered) + n, time.monotonic() + RECOVER_S
        while len(self.load.answered) < want:
            if time.monotonic() > until:
                raise RuntimeError(f"no answer for {RECOVER_S} s after {dict(self.kills)}:\n{self.system.tail()}")
            if self.system.process.poll() is not None:
                raise RuntimeError(f"sluice up ended with {self.system.process.returncode}:\n{self.system.tail()}")
            time.sleep(0.02)

    def kill_one(self):
        target = self.rng.choice(TARGETS)
        early = self.rng.random() < 0.25  # also while it is still starting
        if not early:
            self.await_answers(1)
        time.sleep(self.rng.random() * 0.5)
        try:
            if target == "sluice":
                self.system.process.kill()
                self.system.process.wait()
            else:
                self.system.kill(target)
        except (OSError, ValueError):
            return  # it was not there
        self.kills[target] += 1
        if target == "sluice":
            if self.kills[target] % 4 == 0:
                self.verify(f"after kill {sum(self.kills.values())} (sluice)")
            self.spawn()

    def settle(self):
        """The load has ended: everything is up, shipped and closed."""
        until = time.monotonic() + RECOVER_S
        while time.monotonic() < until:
            r = subprocess.run([self.system.bin / "sluice", "verify", "--json", "--data", self.system.data], capture_output=True, text=True)
            state = json.loads(r.stdout) if r.stdout else {}
            if r.returncode == 0 and state["in_flight"] == 0 and state["running"] == 0 and self.system.healthy():
                return state
            time.sleep(0.2)
        self.fault(f"not settled after {RECOVER_S} s: {r.stdout}{r.stderr}")
        return state

    def compare(self, rows):
        by_id = collections.Counter(row["id"] for row in rows)
        row_of = {row["id"]: row for row in rows}
        for request_id, told in self.load.answered.items():
            if by_id[request_id] != 1:
                self.fault(f"{request_id} was answered and has {by_id[request_id]} rows")
                continue
            row = row_of[request_id]
            billed = (row["input_tokens"] + row["cached_tokens"], row["cached_tokens"], row["output_tokens"])
            if told and billed != told:
                self.fault(f"{request_id}: told {told}, billed {billed}, {row['outcome']}")
            if row["outcome"] not in ("stop", "length"):
                self.fault(f"{request_id} was answered whole, its row says {row['outcome']}")
        for request_id, (seen, most) in self.load.cut.items():
            if by_id[request_id] != 1:
                self.fault(f"{request_id} was begun and has {by_id[request_id]} rows")
            elif not seen <= row_of[request_id]["output_tokens"] <= most:
                self.fault(f"{request_id}: {seen} pieces seen of at most {most} tokens, {row_of[request_id]['output_tokens']} billed, {row_of[request_id]['outcome']}")
        told = [t for t in self.load.answered.values() if t]
        told_ids = [i for i, t in self.load.answered.items() if t]
        sums = tuple(sum(column) for column in zip(*told))
        billed = (sum(row_of[i]["input_tokens"] + row_of[i]["cached_tokens"] for i in told_ids if i in row_of),
                  sum(row_of[i]["cached_tokens"] for i in told_ids if i in row_of), sum(row_of[i]["output_tokens"] for i in told_ids if i in row_of))
        if sums != billed:
            self.fault(f"clients were told {sums} tokens in all, {billed} are billed")
        return sums

    def run(self):
        began = time.monotonic()
        self.load.start()
        while sum(self.kills.values()) < self.args.kills:
            before = sum(self.kills.values())
            self.kill_one()
            n = sum(self.kills.values())
            if n != before and n % 10 == 0:
                print(f"{n} kills {dict(self.kills)}, {len(self.load.answered)} answered, {len(self.load.cut)} cut, {time.monotonic() - began:.0f} s", flush=True)
        self.await_answers(5)
        self.load.stop()
        state = self.settle()
        rows = self.system.usage_rows()
        sums = self.compare(rows)
        outcomes = collections.Counter(row["outcome"] for row in rows)
        if self.system.stop() != 0:
            self.fault(f"sluice up ended with {self.system.process.returncode}")
        self.verify("at the end")
        print(f"{sum(self.kills.values())} kills {dict(self.kills)} in {time.monotonic() - began:.0f} s, seed {self.args.seed}")
        print(f"{len(self.load.answered)} answered, {len(self.load.cut)} cut or broken off, replies {dict(self.load.statuses)}")
        print(f"{len(rows)} rows {dict(outcomes)}; tokens told (prompt, cached, completion) {sums}; verify {state}")
        print(f"{len(self.faults)} faults")
        return 1 if self.faults else 0

    def close(self):
        self.load.stopping.set()
        if self.system.process.poll() is None:
            self.system.process.kill()
            self.system.process.wait()
        if not self.args.keep and not self.faults:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print("kept:", self.dir)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kills", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--clients", type=int, default=5)
    p.add_argument("--bin", default=os.environ.get("SLUICE_TEST_BIN", ""))
    p.add_argument("--model", default=os.environ.get("SLUICE_TEST_MODEL", ""))
    p.add_argument("--keep", action="store_true")
    args = p.parse_args()
    if not os.access(f"{args.bin}/sluice-engine", os.X_OK) or not os.path.exists(args.model):
        print("skipped: SLUICE_TEST_BIN and SLUICE_TEST_MODEL must name programs and model")
        return 77
    m = Matrix(args)
    try:
        return m.run()
    except RuntimeError as e:
        m.fault(str(e))
        return 1
    finally:
        m.close()


if __name__ == "__main__":
    sys.exit(main())
