#!/usr/bin/env python3
"""Writes tests/tokenizer_fixture/: small tokenizers and the ids that `tokenizers` gives with them.

    python3 tests/reference/make_tokenizer_fixtures.py [--check]

One folder a kind, gpt2, llama3 and qwen2: tokenizer.json, configured as the published ones are, and
cases.json, a list of {"text", "as_text", "recognized"}: the ids with special tokens taken as text
and recognised. --check compares with what is there and writes nothing.
"""
import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

FOLDER = pathlib.Path(__file__).parents[1] / "tokenizer_fixture"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

TRAINING_TEXT = """The deep path thinks, the wide path knows; they think and know together.
They're thinking: it's deep, it's wide, isn't it? WE'LL SEE. We'll see, you've said, I'd say.
In 2026 there were 1234567 paths, 100 of them deep (50 wide) and 3.14159 of them neither!!!
for (int i = 0; i < 100; ++i) {\n    path[i] = wide(deep[i - 1]);\n    // thinks\n}\r\n\r\n
Größe, Café, naïve, Ångström; путь широкий и глубокий; 深い道と広い道; 깊은 길; الطريق العميق; 🙂🙂👍
"""

NASTY = [
    "", " ", "  ", "\n", "\r\n", "\t\t", "a", " a", "  a", "a ", "a  ", "a\n", "a \n", "a\n\n b",
    " \n\n  x", "\n \n\t\n x", "x \r\n\r\n  y", "?!\n\n\nx", " ?!\r\n x", "?! \nx", "...\n", "= = =",
    "They're deep  and\n\n wide; it's 2026!", "IT'S WE'LL They'Ve I'M he'D CAN'T 'S's 'tis ''s 'r l'l",
    "'\u017f '\u017fs '\u017ft", "12 123 1234 1234567 1,000,000.50 x1y22z333 \u0661\u0662\u0663\u0664",
    "\u00b2\u00bd\u2167\u3289 \u0967\u0968\u0969\u096a", "a\u00a0b\u3000c\u2028d\u0085e\u2003 f",
    "\x00\x01\x1c\x1d\x1e\x1f\x7f a\x0b\x0c b", "e\u0301a Cafe\u0301 A\u030angstro\u0308m \u212b \u2126 \ufb2a\n\nx",
    "a\u0323\u0307 a\u0307\u0323 q\u0307\u0323 \u0344 \u0f73\u0f74 \u0958 \u0958\n", "\u1100\u1161\u11a8 \uac00\u11a8 \u1161\u11a8",
    "\u09c7\u09be \u0dd9\u0dcf\u0dca \u1025\u102e \u0301 \n\u0301", "\u0897\u0323 a\u1ac1\u0323 \U000105d2\u0307",
    "thinks" * 20, "a" * 100, " " * 50 + "x", "\n" * 40, "!?" * 60, "1" * 50, "ab" * 40,
    "\U0001f642\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea\ufe0f", "\ufeffBOM \ufffe \uffff \U0010ffff \ue000",
    "\u05d0\u05b0 \u0627\u064b \u0e01\u0e33 \u0915\u094d\u0937", "for (int i = 0; i < 10; ++i) {\n    x[i] = 'a';\n}\r\n",
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|> <|end_of_text|>\n<|eot_id|><|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|", "<<|endoftext|>>", "<|<|im_start|>|>", "<tool_call>\n{}\n</tool_call>", "a<tool_call>b <tool_call>",
    "<|im_start|tool_call>", "<|tool<tool_call>|>", "path\u0301tool A\u030a\u00b7 \u00c5\u00b7 \u212b\u00b7", "    if   x",
]

FRAGMENTS = [
    "path", "a", "The", "\u00e9", "e\u0301", "Gr\u00f6\u00dfe", "\u043f\u0443\u0442\u044c", "\u8def", " ", " ", " ", "\n", "\n",
    "\t", "\r\n", "\u00a0", "\u3000", "'s", "'LL", "'", "7", "42", "\u00b2", "\u0663", "\U0001f642", "-", "!?", "\x01", "\u2028",
    "\u0323", "\u0301", "\u1161", "\uac00", "<|endoftext|>", "<tool_call>", "<|", "|>", "\u0897",
]


def trained(split, normalizer, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    if split is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TRAINING_TEXT] * 2, trainer)
    return tokenizer


def gpt2():
    tokenizer = trained(None, None, 420)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=True)])
    return json.loads(tokenizer.to_str())


def llama3():
    tokenizer = trained(LLAMA3, None, 420)
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    description = json.loads(tokenizer.to_str())
    # Some tokens that no merge makes, as Llama 3 has them; whole pieces are taken nevertheless.
    model = description["model"]
    model["merges"] = [m for m in model["merges"] if m[0] + m[1] not in ("Ġthe", "Ġpath", "100", "hi")]
    model["ignore_merges"] = True
    description["post_processor"] = json.loads(
        '{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},'
        ' {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},'
        ' {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {"<|begin_of_text|>":'
        f' {{"id": "<|begin_of_text|>", "ids": [{tokenizer.token_to_id(names[0])}], "tokens": ["<|begin_of_text|>"]}}}}}}'
    )
    return description


def qwen2():
    tokenizer = trained(QWEN2, normalizers.NFC(), 420)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False),
                          AddedToken("A\u030a\u00b7", normalized=True), AddedToken("   ", normalized=True)])
    description = json.loads(tokenizer.to_str())
    # The other spelling of merges.
    model = description["model"]
    model["merges"] = [" ".join(m) for m in model["merges"]]
    return description


def cases(tokenizer, seed):
    rng = random.Random(seed)
    texts = NASTY + ["".join(rng.choices(FRAGMENTS, k=30)) for _ in range(25)]

    def ids(text, as_text):
        tokenizer.encode_special_tokens = as_text
        return tokenizer.encode(text, add_special_tokens=False).ids

    return [{"text": t, "as_text": ids(t, True), "recognized": ids(t, False)} for t in texts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    for seed, make in enumerate([gpt2, llama3, qwen2]):
        folder = FOLDER / make.__name__
        path = folder / "tokenizer.json"
        if not arguments.check:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(make(), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        lines = [json.dumps(case) for case in cases(Tokenizer.from_file(str(path)), seed)]
        text = "[\n" + ",\n".join(lines) + "\n]\n"
        if not arguments.check:
            (folder / "cases.json").write_text(text)
        elif (folder / "cases.json").read_text() != text:
            raise SystemExit(f"{folder}/cases.json is not what the installed packages give")


if __name__ == "__main__":
    main()
