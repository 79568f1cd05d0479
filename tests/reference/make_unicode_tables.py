#!/usr/bin/env python3
"""Writes data/text/unicode_tables.cpp: what the reference tokenizers take code points for.

    python3 tests/reference/make_unicode_tables.py [--check]

Asks Hugging Face's `tokenizers` itself (letters, numbers), and `unicodedata2` for the code points
that later versions of Unicode compose or reorder and the reference does not.
"""
import argparse
import pathlib

import unicodedata2
from tokenizers import Regex, normalizers

TARGET = pathlib.Path(__file__).parents[2] / "data" / "unicode_tables.cpp"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def matching(pattern):
    """The code points that match the pattern."""
    remove = normalizers.Replace(Regex(pattern), "")
    found = set()
    for begin in range(0, len(CODE_POINTS), 4096):
        block = CODE_POINTS[begin : begin + 4096]
        found |= set(block) - set(map(ord, remove.normalize_str("".join(map(chr, block)))))
    return found


def left_alone():
    """Those whose canonical properties are younger than the reference's tables."""
    reference = normalizers.NFC().normalize_str

    def differs(text):
        return reference(text) != unicodedata2.normalize("NFC", text)

    found = set()
    for c in CODE_POINTS:
        parts = unicodedata2.normalize("NFD", chr(c))
        # U+0334, U+0301: marks of a low and a high class, before and after.
        around = [f"a{mark}{chr(c)}" for mark in "\u0334\u0301"]
        around += [f"a{chr(c)}{mark}" for mark in "\u0334\u0301"]
        if differs(parts) or any(map(differs, around)):
            found.add(c)
            # What it is composed of, but for marks that the reference knows.
            found |= {ord(p) for p in parts if ord(p) > 0x10000}
    return found


def rows(name, code_points):
    ranges = []
    for c in sorted(code_points):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    text = f"constexpr CodePointRange {name}[] = {{\n"
    for begin in range(0, len(ranges), 5):
        pairs = (f"{{0x{a:x}, 0x{b:x}}}," for a, b in ranges[begin : begin + 5])
        text += "    " + " ".join(pairs) + "\n"
    return text + "};\n\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    text = (
        "// Written by tests/reference/make_unicode_tables.py.\n// clang-format off\n"
        '#include "data/text/unicode_tables.h"\n\nnamespace dualpath {\nnamespace {\n\n'
        + rows("letters", matching(r"\p{L}"))
        + rows("numbers", matching(r"\p{N}"))
        + rows("left_alone", left_alone())
        + "}  // namespace\n\n"
        "std::span<const CodePointRange> letter_ranges() { return letters; }\n"
        "std::span<const CodePointRange> number_ranges() { return numbers; }\n"
        "std::span<const CodePointRange> ranges_nfc_leaves_alone() { return left_alone; }\n\n"
        "}  // namespace dualpath\n"
    )
    if not arguments.check:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        raise SystemExit(f"{TARGET} is not what the installed packages give")


if __name__ == "__main__":
    main()
