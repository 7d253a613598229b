"""Sizes that boards and heads share (docs/spec/package.md, section 1): a board is read without what parses heads."""

from __future__ import annotations

HEAD_SIZE_BYTES = 1024
UID_SIZE_BYTES = 16
