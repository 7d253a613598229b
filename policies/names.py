"""Names as files and statements have them: of products, sites, tokens, people and groups."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

SLUG_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z"
"""1 to 32 lower-case letters, digits and inner hyphens."""

Slug = Annotated[str, msgspec.Meta(pattern=SLUG_PATTERN)]

_SLUG = re.compile(SLUG_PATTERN)


def is_slug(text: str) -> bool:
    """Whether `text` is such a name; a line feed at its end is not let through."""
    return _SLUG.fullmatch(text) is not None
