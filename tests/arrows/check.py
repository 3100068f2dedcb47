#!/usr/bin/env python3
"""Reads the includes of every C file and keeps DESIGN's arrows and doors:
base <- schema <- {engine, gateway, control}; engine/text <- gateway; one file per outside library."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = {
    "base": {"base"},
    "schema": {"base", "schema"},
    "engine/text": {"base", "schema", "engine/text"},
    "engine": {"base", "schema", "engine/text", "engine"},
    "gateway": {"base", "schema", "engine/text", "gateway"},
    "control": {"base", "schema", "control"},
}
DOORS = {  # library header -> the only files that may include it
    "sqlite3.h": ["control/db"],
    "microhttpd.h": ["base/http_server", "base/http_req"],
    "curl/curl.h": ["base/http_client"],
    "hiredis": ["gateway/limit_redis"],
    "ucp/": ["engine/kv/xfer_ucx"],
    "cuda": ["engine/cuda/"],
    "sodium.h": ["base/hash", "control/secret"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def folder_of(path: str) -> str:
    for folder in ("engine/text", "base", "schema", "engine", "gateway", "control"):
        if path.startswith(folder + "/"):
            return folder
    return ""


def faults_of(path: str, text: str):
    here = folder_of(path)
    for kind, name in INCLUDE.findall(text):
        if kind == '"' and "/" not in name and not (ROOT / path).with_name(name).exists():
            continue  # generated
        if kind == '"' and "/" not in name:
            yield f"{path}: include \"{name}\" by its path from the root"
        there = folder_of(name)
        if kind == '"' and there and there not in ALLOWED[here]:
            yield f"{path}: {here}/ may not include {name} ({there}/)"
        for door, owners in DOORS.items():
            if kind == "<" and name.startswith(door) and not any(path.startswith(o) for o in owners):
                yield f"{path}: <{name}> belongs to {' or '.join(owners)}"


def main() -> int:
    files = [p for f in ("base", "schema", "engine", "gateway", "control") for p in (ROOT / f).rglob("*.[chd]*")
             if p.suffix in (".c", ".h", ".cu", ".cuh")]
    faults = [fault for p in files for fault in faults_of(str(p.relative_to(ROOT)), p.read_text(errors="replace"))]
    # The check must be able to fail: a made-up breach of each kind is found.
    probes = [("base/x.c", '#include "schema/usage.h"'), ("gateway/x.c", '#include "engine/ops.h"'),
              ("control/x.c", '#include "gateway/meter.h"'), ("gateway/x.c", "#include <sqlite3.h>")]
    faults += [f"self-check: {text} in {path} was not found" for path, text in probes if not list(faults_of(path, text))]
    for fault in faults:
        print(fault)
    print(f"{len(files)} files, {len(faults)} breaches")
    return 1 if faults or len(files) < 20 else 0


sys.exit(main())
