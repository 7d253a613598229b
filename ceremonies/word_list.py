"""Digests as words to read aloud: the PGP word list, one word a byte.

Two lists of 256 words take turns, of two syllables for bytes at even places and three for odd ones, so that a word left
out, doubled or exchanged with its neighbour is noticed at once (P. Juola and P. Zimmermann, ICSLP 1996).
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from pki.errors import InputRefused

DIGEST_SIZE_BYTES = 32
_HEX = re.compile(r"[0-9a-f]{64}")


@cache
def word_lists() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words for even and for odd places, in the order of their byte values."""
    text = resources.files("ceremonies").joinpath("pgp_words.txt").read_text(encoding="ascii")
    pairs = [line.split(" ") for line in text.splitlines()]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def to_words(data: bytes) -> list[str]:
    """One word for each byte."""
    lists = word_lists()
    return [lists[place % 2][byte] for place, byte in enumerate(data)]


def digest_from_text(text: str) -> bytes:
    """A SHA-256 digest given as 32 words or as 64 hexadecimal digits; case, commas and line breaks do not matter.

    Raises InputRefused that names the first word which cannot stand where it stands.
    """
    cleaned = text.strip().lower()
    if _HEX.fullmatch(cleaned):
        return bytes.fromhex(cleaned)
    words = re.findall(r"[a-z]+", cleaned)
    if len(words) != DIGEST_SIZE_BYTES:
        raise InputRefused(f"a digest is 64 hexadecimal digits or {DIGEST_SIZE_BYTES} words, not {len(words)} words")
    return bytes(_byte_of(word, place) for place, word in enumerate(words))


def _byte_of(word: str, place: int) -> int:
    lists = word_lists()
    if word in lists[place % 2]:
        return lists[place % 2].index(word)
    if word in lists[1 - place % 2]:
        raise InputRefused(f"word {place + 1}, {word!r}, cannot stand there: a word was left out, doubled or exchanged")
    raise InputRefused(f"word {place + 1}, {word!r}, is not in the word list; read it again")


def word_lines(data: bytes, per_line: int = 4) -> list[str]:
    """The words in numbered lines of a few, for reading aloud."""
    words = to_words(data)
    width = max(len(word) for words_ in word_lists() for word in words_)
    return [
        f"{place + 1:3d}  " + "  ".join(word.ljust(width) for word in words[place : place + per_line]).rstrip()
        for place in range(0, len(words), per_line)
    ]
