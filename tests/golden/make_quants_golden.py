#!/usr/bin/env python3
"""Writes quants.bin: random blocks of each number format and what gguf-py makes of them.

    pip install gguf numpy
    make_quants_golden.py [OUT]

File, little-endian: "SLQUANT1", u32 types; then for each u32 ggml type, u32 blocks, u32 bytes,
u32 floats, the bytes, the floats.
"""
import os
import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

BLOCKS = 4
SCALES = {  # offsets of f16 scales in a block: kept modest, the rest is any byte
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.F16: [], T.BF16: [],
}


def main():
    rng = np.random.default_rng(3)
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "quants.bin")
    with open(out, "wb") as f:
        f.write(b"SLQUANT1" + struct.pack("<I", len(SCALES)))
        for kind, scales in SCALES.items():
            count, size = GGML_QUANT_SIZES[kind]
            if kind in (T.F16, T.BF16):
                count, size = 64, 128
            raw = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
            if not scales:  # any finite pattern: clear the top bit of the exponent
                raw[:, 1::2] &= 0xBF
            for at in scales:
                raw[:, at : at + 2] = rng.normal(0, 0.1, (BLOCKS, 1)).astype("<f2").view(np.uint8)
            if kind == T.F16:
                values = raw.view("<f2").astype(np.float32)
            else:
                values = quants.dequantize(raw, kind).astype(np.float32)
            f.write(struct.pack("<4I", int(kind), BLOCKS, raw.size, values.size))
            f.write(raw.tobytes() + values.astype("<f4").tobytes())
    print(f"{out}: {os.path.getsize(out)} bytes")


if __name__ == "__main__":
    main()
