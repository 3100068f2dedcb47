"""A whole Sluice on free ports, for tests that look at it from outside."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class System:
    def __init__(self, bin_dir: str, data: str, model: str, *options: str):
        self.bin, self.data, self.model = pathlib.Path(bin_dir), pathlib.Path(data), model
        self.api_port, self.gateway_port = free_port(), free_port()
        self.options = options
        self.process = None

    def start(self, timeout_s: float = 120) -> dict:
        self.data.mkdir(parents=True, exist_ok=True)
        demo = self.data / "demo.json"
        self.log = open(self.data / "up.log", "ab")
        self.process = subprocess.Popen(
            [self.bin / "sluice", "up", "--data", self.data, "--model", self.model, "--bind", "127.0.0.1", "--api-port",
             str(self.api_port), "--gateway-port", str(self.gateway_port), *self.options],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"sluice up ended with {self.process.returncode}:\n{self.tail()}")
            if demo.exists() and self.healthy():
                self.demo = json.loads(demo.read_text())
                return self.demo
            time.sleep(0.1)
        raise RuntimeError(f"sluice up is not ready after {timeout_s} s:\n{self.tail()}")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.gateway_port}/v1/health/ready", timeout=2) as r:
                return r.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def tail(self) -> str:
        return (self.data / "up.log").read_text(errors="replace")[-4000:]

    def stop(self) -> int:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self.log.close()
        return self.process.returncode

    def pid(self, name: str) -> int:
        return int((self.data / "run" / f"{name}.pid").read_text())

    def kill(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)

    def verify(self) -> tuple[int, str]:
        r = subprocess.run([self.bin / "sluice", "verify", "--data", self.data], capture_output=True, text=True, timeout=120)
        return r.returncode, r.stdout + r.stderr

    def api(self, method: str, path: str, body=None, token=None):
        """(status, json) of a control plane call with the operator's token."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or self.demo['operator']['token']}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}/api/v1{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as r:
                text = r.read()
                return r.status, json.loads(text) if text else None
        except urllib.error.HTTPError as e:
            text = e.read()
            return e.code, json.loads(text) if text else None

    def usage_rows(self) -> list[dict]:
        rows, after = [], ""
        while True:
            status, page = self.api("GET", f"/usage/requests?limit=200{after}")
            assert status == 200, page
            rows += page["data"]
            if not page["next"]:
                return rows
            after = f"&after={page['next']}"

    def usage_row(self, request_id: str, timeout_s: float = 15) -> dict:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for row in self.usage_rows():
                if row["id"] == request_id:
                    return row
            time.sleep(0.2)
        raise AssertionError(f"no usage row for {request_id} after {timeout_s} s")
