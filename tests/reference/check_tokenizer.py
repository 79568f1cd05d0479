#!/usr/bin/env python3
"""Compares the ids and the speed of `dualpath tokenize` with Hugging Face's `tokenizers`.

    python3 tests/reference/check_tokenizer.py build/dualpath FILE... [--gpt2 FOLDER]
        [--llama3 FILE] [--qwen2 FILE] [--help]

FILE is .txt or .jsonl (field text), also .gz or .zst. The texts of the files, all of Unicode's code
points in several surroundings, and random strings of what tokenizers stumble over are encoded by
both, with a tokenizer of each kind: gpt2, llama3, qwen2. Their vocabularies are the published ones where
FOLDER or FILE is given, else trained on the files by `tokenizers` in the published configuration. A
FILE has a token and its rank on each line, as OpenAI's `tiktoken` reads it, which then encodes the
texts too. Then tokenizer.json as the program wrote it, loaded or trained by itself, is read by
`tokenizers` and compared once more. Ends with 1 where any id differs.

Speed: both encode the files' texts on all cores, in turns. The program's time is that of the whole
command, reading and writing included; the library's is encode_batch_fast alone, on texts in memory.
"""
import argparse
import gzip
import io
import json
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import h5py
import numpy
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from make_tokenizer_fixtures import LLAMA3, QWEN2

PATTERNS = {"llama3": LLAMA3, "qwen2": QWEN2}
SPECIAL = {
    "gpt2": ["<|endoftext|>"],
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
}


def open_text(path):
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8", newline="")
    if path.suffix == ".zst":
        import zstandard

        stream = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"))
        return io.TextIOWrapper(stream, encoding="utf-8", newline="")
    return open(path, encoding="utf-8", newline="")


def read_texts(paths, max_bytes):
    texts, total = [], 0
    for path in paths:
        is_lines = ".jsonl" in path.suffixes
        with open_text(path) as file:
            for text in (json.loads(line)["text"] for line in file) if is_lines else [file.read()]:
                if text and total < max_bytes:
                    texts.append(text)
                    total += len(text.encode())
    return texts


def code_point_texts():
    """Every code point behind an apostrophe, between letters, digits, spaces, marks and line ends.

    Of the planes that are empty or private every 97th."""
    texts = []
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    points = points[:0x33000] + points[0x33000:0xE0000:97] + points[0xE0000:0xE0800] + points[0xE0800::97]
    for begin in range(0, len(points), 512):
        block = points[begin : begin + 512]
        texts.append("".join(f"{c}'{c}1{c}a {c}  {c}\n{c}\u0323\u0301{c}e\u0334{c}\r\n" for c in block))
    return texts


def random_texts(count, seed=1):
    rng = random.Random(seed)
    special = sorted({name for names in SPECIAL.values() for name in names}) + ["<tool_call>"]

    def piece():
        kind = rng.random()
        if kind < 0.3:
            return rng.choice(" \t\n\r  \n \x00\x0b\x0c\x1b\x1c\x1d\x1e\x1f\x7f\x85\xa0\u2003\u2028\u3000\ufeff")
        if kind < 0.6:
            return chr(rng.randrange(32, 127))
        if kind < 0.7:
            return rng.choice(["'s", "'re", "'LL", "'ll", "'d", "'m", "'", "123", "7", "\u0661\u0662"] + special)
        if kind < 0.8:
            return rng.choice(["\u0301", "\u0323", "\u1161", "\u11a8", "\u09be", "\u0345", "\u200d", "\ufe0f", "\u0897"])
        if kind < 0.95:
            low, high = rng.choice([(0xA0, 0x800), (0x800, 0x1200), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F700)])
            return chr(rng.randrange(low, high))
        return chr(rng.randrange(0xE000, 0x110000))

    return ["".join(piece() for _ in range(rng.randrange(1, 4000))) for _ in range(count)]


def model_of_ranks(path):
    """The merges that lead to each token, as transformers finds them in tiktoken's ranks."""
    from transformers.convert_slow_tokenizer import TikTokenConverter

    return TikTokenConverter(vocab_file=str(path)).tokenizer().model


class Tiktoken:
    """tiktoken in the manner of `tokenizers`, and on texts normalised by it."""

    def __init__(self, kind, path):
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe

        self.normalize = normalizers.NFC().normalize_str if kind == "qwen2" else str
        self.encoding = tiktoken.Encoding(kind, pat_str=PATTERNS[kind], special_tokens={},
                                          mergeable_ranks=load_tiktoken_bpe(str(path)))

    def encode_batch_fast(self, texts, add_special_tokens):
        ids_of_texts = self.encoding.encode_ordinary_batch([self.normalize(text) for text in texts])
        return [SimpleNamespace(ids=ids) for ids in ids_of_texts]

    def decode(self, ids, skip_special_tokens):
        return self.encoding.decode(ids)


def make_tokenizer(kind, texts, vocab_size, published):
    if kind == "gpt2" and published:
        files = [str(published / name) for name in ("vocab.json", "merges.txt")]
        tokenizer = Tokenizer(models.BPE.from_file(*files))
    elif published:
        tokenizer = Tokenizer(model_of_ranks(published))
    else:
        tokenizer = Tokenizer(models.BPE())
    if kind == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(PATTERNS[kind]), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    if tokenizer.get_vocab_size() == 0:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL[kind]])
    if kind == "qwen2" and not published:  # tiktoken would not know it
        tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    description = json.loads(tokenizer.to_str())
    if kind == "llama3":
        # Llama 3's file has tokens that no merge makes, which ignore_merges finds nevertheless.
        description["model"]["ignore_merges"] = True
        if not published:
            del description["model"]["merges"][1000::7]
    return json.dumps(description, ensure_ascii=False)


def load_reference(text):
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True  # as `dualpath tokenize`: text that spells one is text
    return tokenizer


def tokenize(program, source, output, *options):
    command = [program, "tokenize", source, f"output={output}", "overwrite=true", *options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    elapsed = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def documents_of(corpus):
    for shard in sorted(corpus.glob("*.h5")):
        with h5py.File(shard) as file:
            tokens, offsets = file["tokens"][:], file["document_offsets"][:]
        for begin, end in zip(offsets, offsets[1:]):
            yield tokens[begin : end - 1]  # without the token that ends it


def blocks_of(texts, max_characters=4_000_000):
    block, size = [], 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size > max_characters:
            yield block
            block, size = [], 0
    yield block


def encode(tokenizer, texts):
    for block in blocks_of(texts):
        yield from tokenizer.encode_batch_fast(block, add_special_tokens=False)


def compare(name, tokenizer, texts, corpus):
    """Prints how much is equal; whether all is."""
    ours = documents_of(corpus)
    equal = different = tokens = 0
    for text, encoding in zip(texts, encode(tokenizer, texts), strict=True):
        ids = next(ours)
        tokens += len(ids)
        expected = numpy.array(encoding.ids, dtype=numpy.int64)
        if numpy.array_equal(ids, expected):
            equal += len(text.encode())
            continue
        different += 1
        if different <= 5:
            length = min(len(ids), len(expected))
            at = int(numpy.argmax(ids[:length] != expected[:length]))
            for who, all_ids in (("expected", expected), ("dualpath", ids)):
                around = all_ids[max(at - 3, 0) : at + 4].tolist()
                print(f"  {who} at token {at}: {around} {tokenizer.decode(around, skip_special_tokens=False)!r}")
    more = sum(1 for _ in ours)
    print(f"{name}: {equal / 1e6:.1f} MB, {tokens} tokens equal, {different + more} documents differ", flush=True)
    return different + more == 0


def write_lines(path, texts):
    with open(path, "w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def check_speed(kind, arguments, tokenizer, texts, lines, folder):
    size = sum(len(text.encode()) for text in texts) / 1e6
    ours, processor, library = [], [], []
    for _ in range(arguments.rounds):
        wall, cpu = tokenize(arguments.program, lines, folder / "speed", f"tokenizer.load={folder}")
        ours.append(size / wall)
        processor.append(size / cpu)
        start = time.monotonic()
        for block in blocks_of(texts):
            tokenizer.encode_batch_fast(block, add_special_tokens=False)
        library.append(size / (time.monotonic() - start))
    median = statistics.median
    print(f"{kind} speed, {size:.0f} MB, medians of {arguments.rounds}: dualpath tokenize {median(ours):.1f} MB/s "
          f"({median(processor):.1f} a core second), tokenizers {median(library):.1f} MB/s, "
          f"ratio {median(ours) / median(library):.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    parser.add_argument("--gpt2", type=pathlib.Path, help="folder with GPT-2's vocab.json and merges.txt")
    parser.add_argument("--llama3", type=pathlib.Path, help="ranks of Llama 3's tokens (tokenizer.model)")
    parser.add_argument("--qwen2", type=pathlib.Path, help="ranks of Qwen's tokens (qwen.tiktoken)")
    parser.add_argument("--megabytes", type=float, default=60, help="how much of the files to read")
    parser.add_argument("--vocab-size", type=int, default=50000, help="of the tokenizers trained here")
    parser.add_argument("--kinds", nargs="+", default=list(SPECIAL), choices=list(SPECIAL))
    parser.add_argument("--speed-megabytes", type=float, default=20, help="how much of them to time")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison of speed; 0: none")
    arguments = parser.parse_args()

    texts = read_texts(arguments.files, arguments.megabytes * 1e6)
    timed_texts = read_texts(arguments.files, arguments.speed_megabytes * 1e6)
    hard = random_texts(1000)
    all_texts = texts + hard + code_point_texts()
    some_texts = texts[:1] + hard
    sample = next(blocks_of(texts, 20_000_000))
    good = True
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        write_lines(work / "all.jsonl", all_texts)
        write_lines(work / "timed.jsonl", timed_texts)
        write_lines(work / "some.jsonl", some_texts)
        for kind in arguments.kinds:
            folder = work / kind
            folder.mkdir()
            published = getattr(arguments, kind)
            description = make_tokenizer(kind, sample, arguments.vocab_size, published)
            (folder / "tokenizer.json").write_text(description, encoding="utf-8")
            reference = load_reference(description)
            tokenize(arguments.program, work / "all.jsonl", folder / "ids", f"tokenizer.load={folder}")
            good &= compare(f"{kind}, {reference.get_vocab_size()} tokens", reference, all_texts, folder / "ids")
            if published and kind in PATTERNS:
                good &= compare(f"{kind} by tiktoken", Tiktoken(kind, published), all_texts, folder / "ids")
            written = load_reference((folder / "ids" / "tokenizer.json").read_text(encoding="utf-8"))
            tokenize(arguments.program, work / "some.jsonl", folder / "some", f"tokenizer.load={folder / 'ids'}")
            good &= compare(f"{kind} as written", written, some_texts, folder / "some")
            tokenize(arguments.program, work / "some.jsonl", folder / "own", f"tokenizer.split={kind}",
                     "tokenizer.vocab_size=8192")
            own = load_reference((folder / "own" / "tokenizer.json").read_text(encoding="utf-8"))
            good &= compare(f"{kind} trained by dualpath", own, some_texts, folder / "own")
            if arguments.rounds > 0:
                check_speed(kind, arguments, reference, timed_texts, work / "timed.jsonl", folder)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
