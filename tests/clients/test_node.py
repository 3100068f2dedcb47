"""Runs test_node.mjs (the OpenAI SDK for Node) against a system of its own."""
import os
import pathlib
import subprocess
import tempfile

from system import System

HERE = pathlib.Path(__file__).parent


def test_the_node_sdk():
    with tempfile.TemporaryDirectory(prefix="sluice-node-") as data:
        s = System(os.environ["SLUICE_TEST_BIN"], data, os.environ["SLUICE_TEST_MODEL"])
        s.start()
        try:
            env = {**os.environ, "SLUICE_DEMO": str(pathlib.Path(data) / "demo.json")}
            r = subprocess.run(["node", "--test", HERE / "test_node.mjs"], env=env, capture_output=True, text=True, timeout=300)
            print(r.stdout)
            assert r.returncode == 0, r.stdout + r.stderr
        finally:
            assert s.stop() == 0, s.tail()
