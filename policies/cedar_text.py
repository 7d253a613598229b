"""Bounds on Cedar text before the engine's parser sees it: deep nesting overflows its stack and ends the process.

Measured (docs/adr/0058): 500 levels of brackets pass, 1,000 end the process. One statement is bounded to a tenth.
"""

from __future__ import annotations

import re

NESTING_MAX = 50
TOKENS_MAX = 1000
"""In one statement: what nests without brackets (`if`, `&&`, `.`) takes at least two tokens a level."""

_TOKEN = re.compile(r'\s+|//[^\n]*|"(?:\\.|[^"\\])*"|\w+|.', re.DOTALL)


def require_shallow(text: str) -> None:
    """ValueError for a statement (up to its `;`) of more tokens, or deeper nesting, than the engine is trusted with."""
    nesting = tokens = 0
    for found in _TOKEN.finditer(text):
        word = found[0]
        if word.isspace() or word.startswith("//"):
            continue
        tokens += 1
        if word in "([{":
            nesting += 1
        elif word in ")]}":
            nesting -= 1
        if nesting > NESTING_MAX or tokens > TOKENS_MAX:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(
                f"line {line}: a statement has at most {TOKENS_MAX} tokens and {NESTING_MAX} levels of brackets; "
                "make two of it"
            )
        if word == ";":
            tokens = 0
