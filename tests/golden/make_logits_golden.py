#!/usr/bin/env python3
"""Writes logits.bin: what transformers in fp32 says about the default model.

    pip install torch transformers accelerate gguf tokenizers jinja2
    make_logits_golden.py MODEL.gguf [OUT]

The weights are those of the GGUF, dequantised by transformers itself; ids come from `tokenizers`
with the model's own pre-tokenizer (digits one by one, then byte level). Ids are stored beside
the numbers, so the test needs no tokenizer and tests nothing but the forward pass.

File, little-endian: "SLGOLD01", u32 cases; then for each case u32 kind (0 prompt, 1 chat, 2 text),
u32 n_ids, u32 first (position of the first row of logits), u32 n_rows, i32 ids[n_ids]; then
n_rows x top-20: u16 id[20], f32 log_prob[20]; and for a text one f64, the mean -log p of ids[1..].
"""
import os
import struct
import sys

import numpy as np
import torch
from gguf import GGUFReader
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM

TOP = 20
PROMPT_ROWS = 64
CHAT_ROWS = 31  # at most; a chat ends at its end-of-turn token

PROMPTS = [
    "The history of the steam engine begins in the first century, when Hero of Alexandria described a ball "
    "that turned by the reaction of escaping steam. It took more than sixteen centuries before anyone put the "
    "idea to work: Thomas Savery sold his first pump to a mine in 1698, and Newcomen improved it soon after. "
    "James Watt added the separate condenser, and the factory age began.",
    "def quicksort(items):\n    if len(items) <= 1:\n        return items\n    pivot = items[len(items) // 2]\n"
    "    left = [x for x in items if x < pivot]\n    middle = [x for x in items if x == pivot]\n"
    "    right = [x for x in items if x > pivot]\n    return quicksort(left) + middle + quicksort(right)\n",
    "Question: A train leaves at 14:05 and arrives at 17:50 the same day. How long is the journey?\nAnswer: "
    "From 14:05 to 17:05 is 3 hours, and from 17:05 to 17:50 is 45 minutes, so the journey takes 3 hours and 45 minutes.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Falsches Üben von Xylophonmusik quält "
    "jeden größeren Zwerg. Heizölrückstoßabdämpfung ist ein langes Wort der deutschen Sprache, aber nicht das längste.",
    '{"id": 17, "name": "Ada Lovelace", "born": "1815-12-10", "tags": ["mathematician", "writer"], "address": '
    '{"street": "St. James\'s Square", "city": "London"}, "works": [{"title": "Notes", "year": 1843, "pages": 66}]}',
    "東京は日本の首都であり、世界最大の都市の一つです。春には桜が咲き、多くの人々が公園に集まります。",
    "Once upon a time, in a small village at the edge of a great forest, there lived a clockmaker who could "
    "not tell the time. Every morning the children came and asked him the hour, and every morning he looked "
    "at his forty clocks, each of which said something else, and answered: it is time for breakfast.",
    "| item | price | qty |\n|---|---|---|\n| bolt M6 | 0.12 | 400 |\n| nut M6 | 0.08 | 400 |\n| washer | 0.03 | 800 |\n\n"
    "Total = 0.12 * 400 + 0.08 * 400 + 0.03 * 800 = 48 + 32 + 24 = 104.00\n\nShipping is 7.50, so the sum is 111.50.",
]

CHATS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain photosynthesis to a ten-year-old in three sentences.",
    "What is 17 times 23? Think step by step.",
    "List five uses for an old newspaper.",
    "Translate 'good morning, my friend' into Spanish.",
    "Write a Python function that reverses a string.",
    "Who wrote Pride and Prejudice, and when was it published?",
    "Give me a recipe for pancakes.",
    "Why is the sky blue?",
    "Summarise the plot of Romeo and Juliet in two sentences.",
    "What should I pack for a weekend in the mountains?",
    "Tell me a short story about a robot who learns to paint.",
]

# Darwin, On the Origin of Species (1859), introduction and chapter 3: public domain.
TEXT = """When on board H.M.S. Beagle, as naturalist, I was much struck with certain facts in the distribution \
of the inhabitants of South America, and in the geological relations of the present to the past inhabitants of that \
continent. These facts seemed to me to throw some light on the origin of species, that mystery of mysteries, as it has \
been called by one of our greatest philosophers. On my return home, it occurred to me, in 1837, that something might \
perhaps be made out on this question by patiently accumulating and reflecting on all sorts of facts which could possibly \
have any bearing on it. After five years' work I allowed myself to speculate on the subject, and drew up some short notes; \
these I enlarged in 1844 into a sketch of the conclusions, which then seemed to me probable: from that period to the present \
day I have steadily pursued the same object. I hope that I may be excused for entering on these personal details, as I give \
them to show that I have not been hasty in coming to a decision.

Before entering on the subject of this chapter, I must make a few preliminary remarks, to show how the struggle for \
existence bears on Natural Selection. It has been seen in the last chapter that amongst organic beings in a state of nature \
there is some individual variability; indeed I am not aware that this has ever been disputed. It is immaterial for us whether \
a multitude of doubtful forms be called species or sub-species or varieties; what rank, for instance, the two or three hundred \
doubtful forms of British plants are entitled to hold, if the existence of any well-marked varieties be admitted. But the mere \
existence of individual variability and of some few well-marked varieties, though necessary as the foundation for the work, \
helps us but little in understanding how species arise in nature. How have all those exquisite adaptations of one part of the \
organisation to another part, and to the conditions of life, and of one distinct organic being to another being, been perfected?
"""


def read_gguf(path):
    fields = GGUFReader(path).fields
    get = lambda key: fields[key].contents()
    tokens, merges = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.merges")
    bpe = models.BPE(
        vocab={t: i for i, t in enumerate(tokens)},
        merges=[tuple(m.split(" ")) for m in merges],
    )
    tok = Tokenizer(bpe)
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    special = [t for t, k in zip(tokens, get("tokenizer.ggml.token_type")) if k == 3]
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tok, get("tokenizer.chat_template"), get("tokenizer.ggml.eos_token_id")


def top_rows(logits):
    """[n, vocab] -> (ids u16 [n, 20], log-probs f32 [n, 20]), most likely first, in double."""
    lp = torch.log_softmax(logits.double(), dim=-1)
    best = torch.topk(lp, TOP, dim=-1)
    return best.indices.numpy().astype("<u2"), best.values.numpy().astype("<f4")


def case(kind, ids, first, rows, nll=None):
    index, lp = rows
    out = struct.pack("<4I", kind, len(ids), first, len(index))
    out += np.asarray(ids, dtype="<i4").tobytes()
    for i in range(len(index)):
        out += index[i].tobytes() + lp[i].tobytes()
    return out + (struct.pack("<d", nll) if nll is not None else b"")


def main():
    path = os.path.abspath(sys.argv[1])
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(here, "logits.bin")
    tok, template, eos = read_gguf(path)
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32
    ).eval()
    run = lambda ids: model(torch.tensor([ids])).logits[0]
    cases = []
    with torch.no_grad():
        for text in PROMPTS:
            ids = tok.encode(text).ids[:PROMPT_ROWS]
            print(f"prompt: {len(ids)} ids", flush=True)
            cases.append(case(0, ids, 0, top_rows(run(ids))))
        render = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        for text in CHATS:
            turn = [{"role": "user", "content": text}]
            prompt = render.from_string(template).render(messages=turn, add_generation_prompt=True)
            ids = tok.encode(prompt).ids
            first = len(ids) - 1
            for _ in range(CHAT_ROWS - 1):
                best = int(run(ids)[-1].argmax())
                if best == eos:
                    break
                ids.append(best)
            print(f"chat: {tok.decode(ids[first + 1:])!r}", flush=True)
            cases.append(case(1, ids, first, top_rows(run(ids)[first:])))
        ids = tok.encode(TEXT).ids
        logits = run(ids)
        lp = torch.log_softmax(logits.double(), dim=-1)
        nll = -lp[:-1].gather(1, torch.tensor(ids[1:])[:, None]).mean().item()
        print(f"text: {len(ids)} ids, perplexity {np.exp(nll):.4f}", flush=True)
        cases.append(case(2, ids, 0, (np.zeros((0, TOP), "<u2"), np.zeros((0, TOP), "<f4")), nll))
    with open(out, "wb") as f:
        f.write(b"SLGOLD01" + struct.pack("<I", len(cases)) + b"".join(cases))
    print(f"{out}: {os.path.getsize(out)} bytes, {len(cases)} cases")


if __name__ == "__main__":
    main()
