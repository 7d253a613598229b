"""HTML built from values: text is escaped by being text, so that no name in a ceremony can become markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """HTML. Only `element` and `join` make it, from texts that they escape."""

    __slots__ = ()


def element(name: str, *children: str, css: str = "") -> Markup:
    """An element. A child that is not Markup is escaped; `css` is a class name of our own, never a value."""
    attribute = f' class="{css}"' if css else ""
    return Markup(f"<{name}{attribute}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Markup:
    """The children one after the other, escaped where they are not Markup."""
    return Markup("".join(child if isinstance(child, Markup) else escaped(child) for child in children))


def escaped(text: str) -> str:
    """Text for HTML. What does not print, or would turn the direction of reading, is shown by its code point."""
    visible = "".join(
        character if character.isprintable() or character == "\n" else f"\\u{{{ord(character):x}}}"
        for character in text
    )
    return html.escape(visible)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], css: str) -> Markup:
    """A table; its headings are repeated on every page that it goes on to."""
    head = element("thead", element("tr", *(element("th", heading) for heading in headings)))
    body = element("tbody", *(element("tr", *(element("td", cell) for cell in row)) for row in rows))
    return element("table", head, body, css=css)


def facts(pairs: Iterable[tuple[str, str]], css: str = "facts") -> Markup:
    """Names and values in two columns, without headings."""
    rows = (element("tr", element("th", name), element("td", value)) for name, value in pairs)
    return element("table", element("tbody", *rows), css=css)
