#!/usr/bin/env python3
"""Writes engine/text/unicode_ranges.inc: the classes that pre-tokenizers know of every code point.

The truth is what the oracle does, so each code point is put through its pre-tokenizers and the
class is read off the way it was split. (Its regex engine and its digit test come with their own
Unicode versions; a table from a third source would differ in the newest characters.)

  letter  joins "a" before it under the GPT-2 pattern      number  joins "1" before it
  space   follows "!" as a piece of its own                other   joins "!" before it
  digit   is cut off by Digits(individual_digits=True)

Usage: make_unicode_ranges.py OUT.inc
"""
import sys

from tokenizers import Regex, pre_tokenizers as pt

LETTER, NUMBER, SPACE, DIGIT = 1, 2, 3, 4  # 0 is other; DIGIT is a bit of its own
CHUNK = 4096
SEP = "\n"  # not part of any piece that we look at


def pieces(splitter, lines):
    """Number of pieces of each line, computed in one call: the pieces carry their offsets."""
    text = "\0".join(lines)
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    cuts = {span[0] for _, span in splitter.pre_tokenize_str(text)}
    return cuts, starts


def joined(probe, cps):
    """Which of cps are in one piece with the probe character before them."""
    splitter = pt.Split(Regex(r"\p{L}+|\p{N}+|\s+|[^\s\p{L}\p{N}]"), behavior="isolated")
    if probe == "!":
        splitter = pt.Split(Regex(r"[^\s\p{L}\p{N}\x00]+|\p{L}+|\p{N}+|\s+|\x00"), behavior="isolated")
    lines = [probe + chr(c) for c in cps]
    cuts, starts = pieces(splitter, lines)
    return [start + 1 not in cuts for start in starts]


def digits(cps):
    splitter = pt.Digits(individual_digits=True)
    cuts, starts = pieces(splitter, ["a" + chr(c) for c in cps])
    return [start + 1 in cuts for start in starts]


def classes():
    out = bytearray(0x110000)
    everything = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]
    for i in range(0, len(everything), CHUNK):
        cps = everything[i:i + CHUNK]
        letter, number, other, digit = joined("a", cps), joined("1", cps), joined("!", cps), digits(cps)
        space = joined(" ", cps)
        for c, is_l, is_n, is_o, is_s, is_d in zip(cps, letter, number, other, space, digit):
            assert is_l + is_n + is_o + is_s == 1, hex(c)
            out[c] = (LETTER if is_l else NUMBER if is_n else SPACE if is_s else 0) | (DIGIT if is_d else 0)
    return out


def main():
    cls = classes()
    runs, start = [], 0
    for c in range(1, 0x110001):
        if c == 0x110000 or cls[c] != cls[start]:
            runs.append((start, cls[start]))
            start = c
    with open(sys.argv[1], "w") as f:
        f.write("/* Made by tests/golden/make_unicode_ranges.py; do not edit. {first code point, class}. */\n")
        line = ""
        for at, kind in runs:
            item = "{0x%x,%d}," % (at, kind)
            if len(line) + len(item) > 100:
                f.write(line + "\n")
                line = ""
            line += item
        f.write(line + "\n")
    odd = [hex(c) for c in range(0x110000) if (cls[c] & 3 == NUMBER) != bool(cls[c] & DIGIT)]
    print(len(runs), "runs; digit and number differ at", odd)


main()
