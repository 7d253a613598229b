"""Freeze windows: when a product's releases stand still (docs/spec/policies.md, "Calendar")."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from policies.names import Slug, is_slug
from policies.toml_text import convert, parse_toml

ALL_PRODUCTS = "*"
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Window(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begins": "from", "ends": "to"}
):
    """Open from `begins`, closed again at `ends`."""

    name: Slug
    begins: _Instant
    ends: _Instant
    products: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1000)]

    def __post_init__(self) -> None:
        if self.begins.microsecond or self.ends.microsecond:
            raise ValueError(f"window {self.name!r}: give whole seconds")
        if self.begins >= self.ends:
            raise ValueError(f"window {self.name!r}: `from` is not before `to`")
        if self.products != [ALL_PRODUCTS] and not all(map(is_slug, self.products)):
            raise ValueError(f'window {self.name!r}: `products` are names of products, or ["*"] alone')
        if len(set(self.products)) != len(self.products):
            raise ValueError(f"window {self.name!r} names a product twice")

    def is_open(self, product: str, now: datetime) -> bool:
        """Whether it is open for this product."""
        return self.begins <= now < self.ends and (product in self.products or self.products == [ALL_PRODUCTS])


class Calendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`calendar.toml`."""

    format: Literal[1]
    windows: Annotated[list[Window], msgspec.Meta(max_length=1000)] = []

    def __post_init__(self) -> None:
        names = [window.name for window in self.windows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"window {repeated[0]!r} is named twice")

    def open_windows(self, product: str, now: datetime) -> tuple[str, ...]:
        """Names of the windows that are open for a product, in ascending order."""
        return tuple(sorted(window.name for window in self.windows if window.is_open(product, now)))

    @property
    def products(self) -> frozenset[str]:
        """Every product that a window names."""
        return frozenset(name for window in self.windows for name in window.products if name != ALL_PRODUCTS)


def parse_calendar(text: str) -> Calendar:
    """Read the text of a calendar. ValueError."""
    return convert(parse_toml(text), Calendar)
