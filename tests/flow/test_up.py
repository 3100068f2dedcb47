#!/usr/bin/env python3
"""`sluice up` as a person or a script sees it: started, asked, broken, stopped. Python's own library only.

    test_up.py BIN_DIR      the programs; SLUICE_TEST_BIN wins. SLUICE_TEST_MODEL names the model."""
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
from system import System, free_port  # noqa: E402

BIN = os.environ.get("SLUICE_TEST_BIN") or (sys.argv[1] if len(sys.argv) > 1 else "")
MODEL = os.environ.get("SLUICE_TEST_MODEL", "")


def wait_for(what, timeout_s=30):
    """The first true value of what(); fails with the last one."""
    deadline = time.monotonic() + timeout_s
    value = what()
    while not value and time.monotonic() < deadline:
        time.sleep(0.05)
        value = what()
    assert value, f"not after {timeout_s} s"
    return value


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def run(*args, timeout=120):
    r = subprocess.run([f"{BIN}/sluice", *map(str, args)], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout + r.stderr


class Up(unittest.TestCase):
    """One folder and one system for all; the tests run in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="sluice-up-"))
        cls.data = cls.dir / "data"
        cls.system = System(BIN, str(cls.data), MODEL)
        cls.ports = ["--api-port", cls.system.api_port, "--gateway-port", cls.system.gateway_port]

    @classmethod
    def tearDownClass(cls):
        if cls.system.process:
            cls.system.stop()
        shutil.rmtree(cls.dir, ignore_errors=True)

    def demo(self):
        return json.loads((self.data / "demo.json").read_text())

    def chat(self, tokens=8):
        d = self.demo()
        body = {"model": d["model"], "messages": [{"role": "user", "content": "Count to twenty."}], "max_tokens": tokens}
        request = urllib.request.Request(d["openai_base_url"] + "/chat/completions", json.dumps(body).encode(),
                                         {"Authorization": f"Bearer {d['api_key']}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as r:
            return r.headers["x-request-id"], json.loads(r.read())

    def answers(self):
        try:
            return self.chat()
        except (urllib.error.URLError, OSError):
            return None

    def deployment(self):
        status, page = self.system.api("GET", "/deployments")
        self.assertEqual(status, 200, page)
        return page["data"][0]

    def pids(self):
        return {p.stem: int(p.read_text()) for p in (self.data / "run").glob("*.pid")}

    def test_01_once_sees_a_metered_answer_and_stops_everything(self):
        code, out = run("up", "--once", "--data", self.data, "--model", MODEL, *self.ports)
        self.assertEqual(code, 0, out)
        for words in ("tokens and cost are exact", "USD", self.demo()["api_key"], self.demo()["console"]):
            self.assertIn(words, out)
        self.assertEqual(self.pids(), {})
        self.assertEqual(run("verify", "--data", self.data)[0], 0)

    def test_02_demo_json_is_private_and_complete(self):
        d = self.demo()
        self.assertEqual(stat.S_IMODE((self.data / "demo.json").stat().st_mode), 0o600)
        self.assertEqual(set(d), {"console", "openai_base_url", "model", "operator", "org", "user", "api_key"})
        self.assertEqual(set(d["operator"]), {"email", "password", "token"})
        self.assertEqual(set(d["org"]), {"id", "name"})
        self.assertEqual(set(d["user"]), {"email", "password"})
        self.assertTrue(all([d["console"], d["model"], d["api_key"], *d["operator"].values(), *d["org"].values(), *d["user"].values()]))

    def test_03_a_second_start_keeps_key_passwords_and_rows(self):
        before, rows = self.demo(), run("usage", "--json", "--data", self.data)[1]
        self.system.start()
        self.assertEqual(self.demo(), before)
        self.chat()
        self.assertGreater(sum(g["requests"] for g in json.loads(run("usage", "--json", "--data", self.data)[1])["data"]),
                           sum(g["requests"] for g in json.loads(rows)["data"]))

    def test_04_a_second_up_on_the_same_folder_is_refused_by_name(self):
        code, out = run("up", "--data", self.data, "--api-port", free_port(), "--gateway-port", free_port())
        self.assertEqual(code, 1)
        self.assertIn(f"process {self.pids()['sluice']}", out)
        self.assertTrue(self.answers())

    def test_05_a_port_in_use_is_named_with_its_option(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]
            for option, other in (("--api-port", "--gateway-port"), ("--gateway-port", "--api-port")):
                code, out = run("up", "--data", self.dir / "other", option, port, other, free_port())
                self.assertEqual(code, 1)
                self.assertIn(str(port), out)
                self.assertIn(option, out)

    def test_06_unknown_words_are_answered_with_what_is_allowed(self):
        code, out = run("up", "--speed", "9")
        self.assertEqual(code, 2)
        self.assertIn('"--speed"', out)
        self.assertIn("--gateway-port", out)
        code, out = run("upp")
        self.assertEqual(code, 2)
        self.assertIn("verify", out)
        self.assertEqual(run("up", "--api-port", "99999")[0], 2)

    def test_07_status_shows_processes_and_replicas(self):
        code, out = run("status", "--json", "--data", self.data)
        self.assertEqual(code, 0, out)
        status = json.loads(out)
        self.assertEqual({p["name"] for p in status["processes"] if p["alive"]}, {"sluice", "gateway", "engine-0"})
        self.assertEqual(status["deployments"][0]["state"], "running")
        self.assertEqual(run("status", "--data", self.data)[0], 0)

    def test_08_a_killed_engine_is_started_again_and_the_status_says_why(self):
        pid = self.pids()["engine-0"]
        os.kill(pid, signal.SIGKILL)
        reason = wait_for(lambda: self.deployment()["state_reason"])
        self.assertIn("signal 9", reason)
        wait_for(lambda: self.deployment()["state"] == "running")
        self.assertNotEqual(self.pids()["engine-0"], pid)
        self.assertEqual(self.deployment()["replica_list"][0]["restarts"], 1)
        wait_for(self.answers)

    def test_09_a_killed_gateway_is_started_again(self):
        pid = self.pids()["gateway"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pids().get("gateway") not in (None, pid))
        wait_for(self.answers)

    def test_10_replicas_follow_the_number_that_is_asked_for(self):
        d = self.deployment()
        self.assertEqual(self.system.api("PATCH", f"/deployments/{d['id']}", {"replicas": 2})[0], 200)
        wait_for(lambda: [r["state"] for r in self.deployment()["replica_list"]] == ["running"] * 2, 60)
        self.assertEqual({n for n in self.pids() if n.startswith("engine")}, {"engine-0", "engine-1"})
        wait_for(self.answers)
        self.assertEqual(self.system.api("PATCH", f"/deployments/{d['id']}", {"replicas": 1})[0], 200)
        wait_for(lambda: {n for n in self.pids() if n.startswith("engine")} == {"engine-0"}, 60)
        wait_for(self.answers)
        self.assertEqual(self.system.api("PATCH", f"/deployments/{d['id']}", {"replicas": 0})[0], 200)
        wait_for(lambda: self.deployment()["state"] == "stopped", 60)
        self.assertFalse({n for n in self.pids() if n.startswith("engine")})
        self.assertEqual(self.system.api("PATCH", f"/deployments/{d['id']}", {"replicas": 1})[0], 200)
        wait_for(self.answers, 60)

    def test_11_an_edited_replica_is_replaced(self):
        d, pid = self.deployment(), self.pids()["engine-0"]
        self.assertEqual(self.system.api("PATCH", f"/deployments/{d['id']}", {"max_seqs": 8})[0], 200)
        wait_for(lambda: self.pids().get("engine-0") not in (None, pid), 60)
        wait_for(self.answers, 60)
        self.assertIn("--max-seqs\0008", pathlib.Path(f"/proc/{self.pids()['engine-0']}/cmdline").read_text())

    def test_11b_a_deleted_deployment_is_drained_and_an_external_one_needs_no_process(self):
        d = self.deployment()
        own = {"name": "second", "served_name": "second", "model_id": d["model_id"], "endpoint_id": d["endpoint_id"]}
        status, second = self.system.api("POST", "/deployments", own)
        self.assertEqual(status, 201, second)
        state = lambda i: self.system.api("GET", f"/deployments/{i}")[1].get("state")  # noqa: E731
        wait_for(lambda: state(second["id"]) == "running", 60)
        self.assertIn("engine-1", self.pids())
        self.assertEqual(self.system.api("DELETE", f"/deployments/{second['id']}")[0], 204)
        wait_for(lambda: "engine-1" not in self.pids(), 60)
        status, far = self.system.api("POST", "/deployments", {**own, "engine": "external", "upstream_url": "http://127.0.0.1:9/v1"})
        self.assertEqual(status, 201, far)
        wait_for(lambda: state(far["id"]) == "running")
        self.assertNotIn("engine-1", self.pids())
        self.assertEqual(self.system.api("DELETE", f"/deployments/{far['id']}")[0], 204)

    def test_12_a_model_that_cannot_be_read_fails_with_its_reason(self):
        bad = self.dir / "bad.gguf"
        bad.write_bytes(b"GGUF" + b"\xff" * 60)
        models = self.system.api("GET", "/models")[1]["data"]
        path = f"/models/{models[0]['id']}"
        self.assertEqual(self.system.api("PATCH", path, {"source": str(bad)})[0], 200)
        wait_for(lambda: "exited with code" in self.deployment()["state_reason"], 60)
        self.assertEqual(self.system.api("PATCH", path, {"source": str(self.dir / "nowhere.gguf")})[0], 200)
        wait_for(lambda: "nowhere.gguf" in self.deployment()["state_reason"], 60)
        self.assertEqual(self.system.api("PATCH", path, {"source": models[0]["source"]})[0], 200)
        wait_for(self.answers, 60)

    def test_13_children_die_with_a_killed_parent_and_the_next_start_serves(self):
        pids = self.pids()
        self.system.kill("sluice")
        self.system.process.wait()
        wait_for(lambda: not any(alive(p) for p in pids.values()), 10)
        self.assertEqual(run("status", "--data", self.data)[0], 1)
        code, out = run("verify", "--data", self.data)
        self.assertEqual(code, 0, out)
        self.system.start()
        self.chat()

    def test_14_terminated_under_load_it_stops_all_children_and_exits_with_0(self):
        pids = self.pids()
        calls = [subprocess.Popen([sys.executable, "-c", "import sys,urllib.request as u;u.urlopen(u.Request(sys.argv[1]+'/chat/completions',"
                                   "sys.argv[3].encode(),{'Authorization':'Bearer '+sys.argv[2],'Content-Type':'application/json'}),timeout=60).read()",
                                   self.demo()["openai_base_url"], self.demo()["api_key"],
                                   json.dumps({"model": self.demo()["model"], "messages": [{"role": "user", "content": "Tell a story."}], "max_tokens": 24})],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(3)]
        wait_for(lambda: json.loads(run("status", "--json", "--data", self.data)[1])["ledger"]["open"] > 0)
        self.assertEqual(self.system.stop(), 0)
        for c in calls:
            c.wait(60)
        self.assertFalse([n for n, p in pids.items() if alive(p)])
        self.assertEqual(self.pids(), {})
        code, out = run("verify", "--data", self.data)
        self.assertEqual(code, 0, out)
        self.assertIn("0 still open", out)


if __name__ == "__main__":
    if not BIN or not os.access(f"{BIN}/sluice-engine", os.X_OK):
        print("skipped: no programs in", BIN or "(SLUICE_TEST_BIN)")
        sys.exit(77)
    if not os.path.exists(MODEL):
        print("skipped: SLUICE_TEST_MODEL names no model")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0]], verbosity=2)
