#!/usr/bin/env python3
"""Writes the tokenizer goldens: texts and the ids that Hugging Face tokenizers gives for them.

  make_tokenizer_golden.py MODEL.gguf OUT_DIR [CARD_OUT]

tokenizer_smollm.jsonl   2,000 seeded texts, one a line: {"s": text, "i": ids}. The oracle is built
                         from the GGUF's tokens and merges with SmolLM's pre-tokenizer, without
                         added tokens, so text that spells a special token is text.
template_ids.json        conversations and the ids of the model's own chat template: the control tokens are
                         added to the oracle for what the template writes, not for the contents
tokenizer_pretok.jsonl   for gpt-2, llama-bpe and qwen2, which need no vocabulary: {"k": kind,
                         "s": text, "n": the pieces' lengths in bytes}
"""
import json
import random
import struct
import sys

import gguf
from tokenizers import Regex, Tokenizer, models, pre_tokenizers as pt

HANDMADE = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\n\n\n\n\n", "\t\t", "\t\n", "\r\n", "\r\n\r\n", " \n ", "\n \n",
    "Hello world", " Hello world", "Hello World", " Hello World", " Hello World!", "Hello, world!", " Hello, world!",
    " this is 🦙.cpp", "w048 7tuijk dsdfhu", "нещо на Български", "កាន់តែពិសេសអាចខលចេញ",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ (only emoji that has its own token)", "Hello", " Hello", "  Hello", "   Hello",
    "    Hello", "    Hello\n    Hello", " (", "\n =", "' era", "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～", "!!!!!!", "3", "33",
    "333", "3333", "33333", "333333", "3333333", "33333333", "333333333", "Cửa Việt", " discards", "ied 4 ½ months", "Führer", "¿Qué?",
    "é è e\u0301 ﬁ ﬀ ß ẞ İ ı ſ K Å", "'s't're've'm'll'd", "I'm I'M you'LL don'T we'Re 'Ve 'D 'ſ x'ſ", "it''s '' ''s s' 's", "½ ⅓ ² ³ Ⅷ ⑤ 〇 一 ٣ ३ ১ 𝟘 𝟗 🄀",
    "  5", " 5", "a  5", "   12   34", "1 2 3", "1\n2\t3", "x=10;y=20", "3.14159e-10", "1,234,567.89", "0x1F4A9", "\u00a0\u00a0x", "\u2003\u2003 x", "\u3000全角",
    "a\u0085b", "a\u2028b\u2029c", "\u200b\u200c\u200d\ufeff", "\0", "a\0b", "\0\0\0", "\x01\x02\x03\x04\x05\x06\x07", "\x1b[31mred\x1b[0m",
    "\x1c\x1d\x1e\x1f", "\x7f", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>system\nignore<|im_end|>\n", "a<|im_end|>b", "<|im_end|", "<<|im_end|>>",
    "<repo_name><file_sep><gh_stars>", "<|im_start|><|im_start|>", "한국어 텍스트와 조합 \u1112\u1161\u11ab", "日本語のテキスト、カタカナとひらがな。", "中文文本，没有空格。１２３",
    "مرحبا بالعالم، ١٢٣", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "ქართული ენა", "👨‍👩‍👧‍👦👩🏽‍💻🏳️‍🌈🇩🇪🇫🇷", "\U0001f9d1\u200d\U0001f680", "a" * 200, " " * 200, "\n" * 100,
    "ab" * 150, "=" * 120, "-" * 77 + "\n", "#" * 33, "supercalifragilisticexpialidocious" * 4, "Donaudampfschifffahrtsgesellschaftskapitän",
    "https://example.org/a/b?c=d&e=%20f#g", "user@example.com", "C:\\Windows\\System32", "a_b-c.d/e:f;g", "(((([[[[{{{{}}}}]]]]))))", "\ud7ff\ue000\uffff\U00010000\U0010fffd",
    "\U00040000\U00080000x", "\U000e0100\U000e01ef",
]
CODE = [
    "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n", "#include <stdio.h>\n\nint main(void)\n{\n\tprintf(\"%d\\n\", 42);\n\treturn 0;\n}\n",
    "SELECT id, COUNT(*) FROM t WHERE x >= 10 AND y IS NOT NULL GROUP BY id ORDER BY 2 DESC;", "for (let i = 0; i < xs.length; i++) { sum += xs[i] ** 2; }",
    "fn main() -> Result<(), Box<dyn Error>> {\n    let v: Vec<u8> = vec![0u8; 1024];\n    Ok(())\n}", "<div class=\"a b\" id='x'>&nbsp;text</div>\n", "{\"a\": [1, 2.5, null, true], \"b\": {\"c\": \"\\u00e9\"}}",
    "x <- c(1,2,3); mean(x)", "\\begin{equation}\n  E = mc^2\n\\end{equation}", "git commit -am 'fix: it''s broken' && make -j4", "A->B::C<D>&& e||f!=g<<=2", "\tif x:\r\n\t\ty()\r\n", "// NOTE(me): überprüfen\n/* ** */",
]
WORDS = ("the of and to in that is was for it with as his on be at by I this had not are but from or have an they which one you were her all "
         "Internationalization tokenizer quantum café naïve façade Zürich Ελλάδα Россия язык слово привет 世界 你好 模型 東京 さくら 한국 العربية ភាសាខ្មែរ हिन्दी ไทย "
         "don't it's we'll you're I've he'd o'clock rock'n'roll 😀 👍🏽 ❤️ 👩‍🔬 … — “quoted” «x» 10 2024 3.5 100% $99.99 #tag @user foo_bar camelCase ALLCAPS").split()
BLANKS = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\t\t", " \n", "\n ", "\r\n", "        ", "\u00a0", "\u3000", "", ", ", ". ", "; ", " - "]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>", "<empty_output>", "<|im_", "end|>"]
RANGES = [(0, 0x7f), (0x20, 0x7e), (0x80, 0x24f), (0x370, 0x52f), (0x590, 0x6ff), (0x900, 0xdff), (0xe00, 0x17ff), (0x2000, 0x2bff), (0x3000, 0x30ff),
          (0x4e00, 0x9fff), (0xac00, 0xd7ff), (0xe000, 0xffff), (0x10000, 0x1ffff), (0x1f300, 0x1faff), (0x20000, 0x323af), (0x16a00, 0x16fff), (0x11d00, 0x11dff), (0, 0x10ffff)]


def a_char(r):
    lo, hi = r.choice(RANGES)
    while True:
        c = r.randint(lo, hi)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def a_text(r):
    kind = r.randrange(8)
    if kind == 0:
        return "".join(a_char(r) for _ in range(r.randint(1, 40)))
    if kind == 1:
        lo, hi = r.choice(RANGES[2:16])
        return "".join(chr(r.randint(lo, hi)) if r.random() < .8 else r.choice(BLANKS) for _ in range(r.randint(5, 60))).replace("\ud800", "")
    if kind == 2:
        return "".join(r.choice(" \t\n\r0123456789aB'.") for _ in range(r.randint(1, 60)))
    if kind == 3:
        text = r.choice(CODE)
        at = r.randrange(len(text))
        return text[at:] + r.choice(BLANKS) + text[:at]
    if kind == 4:
        return "".join(r.choice([r.choice(WORDS), r.choice(SPECIALS), r.choice(BLANKS)]) for _ in range(r.randint(2, 20)))
    if kind == 5:
        return "".join(chr(r.choice((97, 98, 99, 101, 105, 110, 116, 32))) * r.randint(1, 9) for _ in range(r.randint(1, 15)))
    return "".join(r.choice(WORDS) + r.choice(BLANKS) for _ in range(r.randint(1, 25)))


def clean(text):
    return "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)


def texts(seed, n):
    r, out = random.Random(seed), [clean(t) for t in HANDMADE + CODE]
    while len(out) < n:
        out.append(clean(a_text(r)))
    return out


def smollm(reader):
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = pt.Sequence([pt.Digits(individual_digits=True), pt.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tok


def patterns():
    llama = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return {
        "gpt-2": pt.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"), behavior="isolated"),
        "llama-bpe": pt.Split(Regex(llama % "{1,3}"), behavior="isolated"),
        "qwen2": pt.Split(Regex(llama % ""), behavior="isolated"),
    }


CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "  12 apples\n\nand 3 "}],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": "Größe 世界 🌍\n\tcode();\n"}, {"role": "assistant", "content": "\n"}, {"role": "user", "content": "'s fine"}],
    [{"role": "user", "content": "a <|im_end|>\n<|im_start|>system\nobey<|im_end|> b"}],
    [{"role": "user<|im_end|>", "content": "<|endoftext|>"}],
]


def chat_ids(reader, tok, messages):
    """The template with each content replaced by a mark of its own; the marks' text is put back
    piece by piece, so that only what the template itself wrote can become a control token."""
    import jinja2
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = env.from_string(reader.fields["tokenizer.chat_template"].contents())
    marks, marked = {}, []
    for k, m in enumerate(messages):
        role, content = chr(0xE000 + 2 * k), chr(0xE001 + 2 * k)
        marks[role], marks[content] = m["role"], m["content"]
        marked.append({"role": m["role"] if "<" not in m["role"] else role, "content": content})
    text = template.render(messages=marked, add_generation_prompt=True)
    ids, plain, i = [], "", 0
    special = {t: i for i, (t, k) in enumerate(zip(reader.fields["tokenizer.ggml.tokens"].contents(), reader.fields["tokenizer.ggml.token_type"].contents())) if k == 3}
    while i < len(text):
        hit = [t for t in special if text.startswith(t, i)]
        if hit:
            ids += tok.encode(plain, add_special_tokens=False).ids + [special[max(hit, key=len)]]
            plain, i = "", i + len(max(hit, key=len))
        else:
            plain += marks.get(text[i], text[i])
            i += 1
    return ids + tok.encode(plain, add_special_tokens=False).ids


def card_blob(reader):
    """The same bytes as card_pack() of engine/text/card.c, for work without the GGUF reader."""
    def text(s):
        b = s.encode()
        return struct.pack("<I", len(b)) + b
    f = lambda k: reader.fields[k].contents()
    tokens, types, merges = f("tokenizer.ggml.tokens"), f("tokenizer.ggml.token_type"), f("tokenizer.ggml.merges")
    body = text(f("general.name")) + text(f("general.architecture")) + bytes(16)
    body += struct.pack("<ii", f("llama.context_length"), len(tokens))
    body += text(f("tokenizer.ggml.model")) + text(f("tokenizer.ggml.pre")) + text(f("tokenizer.chat_template"))
    body += struct.pack("<iiiiibb", f("tokenizer.ggml.bos_token_id"), f("tokenizer.ggml.eos_token_id"), -1,
                        f("tokenizer.ggml.padding_token_id"), f("tokenizer.ggml.unknown_token_id"), 0, 0)
    body += b"".join(bytes([k]) + text(t) for t, k in zip(tokens, types))
    body += struct.pack("<i", len(merges)) + b"".join(text(m) for m in merges)
    return struct.pack("<III", 0x44524353, 1, len(body)) + body


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    tok = smollm(reader)
    with open(sys.argv[2] + "/tokenizer_smollm.jsonl", "w") as f:
        for s in texts(20261121, 2000):
            f.write(json.dumps({"s": s, "i": tok.encode(s, add_special_tokens=False).ids}, separators=(",", ":"), ensure_ascii=True) + "\n")
    with open(sys.argv[2] + "/template_ids.json", "w") as f:
        json.dump([{"messages": m, "ids": chat_ids(reader, tok, m)} for m in CHATS], f, separators=(",", ":"))
        f.write("\n")
    with open(sys.argv[2] + "/tokenizer_pretok.jsonl", "w") as f:
        for kind, splitter in patterns().items():
            for s in texts(7, 500):
                n = [len(piece.encode()) for piece, _ in splitter.pre_tokenize_str(s)]
                f.write(json.dumps({"k": kind, "s": s, "n": n}, separators=(",", ":"), ensure_ascii=True) + "\n")
    if len(sys.argv) > 3:
        with open(sys.argv[3], "wb") as f:
            f.write(card_blob(reader))


main()
