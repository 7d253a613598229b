"""Adding a token to a site file: appended as text, so that what people wrote and its comments stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pki.errors import ConfigurationError, OutputError
from policies.names import is_slug
from signer.authority.model import PinConfig, Site
from signer.authority.toml_files import parse_toml, toml_string
from signer.durable import replace_text


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """A `[tokens.NAME]` entry to add. `uri` pins the token by serial; `module` is a name under [modules]."""

    name: str
    module: str
    uri: str
    pin: PinConfig

    def to_toml(self) -> str:
        """The entry as the lines to add to a site file."""
        return (
            f"[tokens.{self.name}]\n"
            f"module = {toml_string(self.module)}\n"
            f"uri = {toml_string(self.uri)}\n"
            f"pin = {{ {_pin_to_toml(self.pin)} }}\n"
        )


def _pin_to_toml(pin: PinConfig) -> str:
    parts = [f"source = {toml_string(pin.source)}"]
    if pin.path is not None:
        parts.append(f"path = {toml_string(pin.path)}")
    if pin.argv is not None:
        parts.append(f"argv = [{', '.join(toml_string(argument) for argument in pin.argv)}]")
    return ", ".join(parts)


def with_token(path: Path, text: str, entry: TokenEntry) -> str:
    """The text of a site file with one token more. Raises ConfigurationError if it is not a site then, or has it."""
    if not is_slug(entry.name):
        raise ConfigurationError(f"{entry.name!r} is no name: use lower-case letters, digits and inner hyphens")
    site = parse_toml(path, text, Site)
    if entry.name in site.tokens:
        raise ConfigurationError(f"{path}: token {entry.name!r} is there already; choose another name")
    if entry.module not in site.modules:
        have = ", ".join(sorted(site.modules)) or "none"
        raise ConfigurationError(f"{path}: there is no module {entry.module!r} under [modules] (there: {have})")
    longer = f"{text.rstrip()}\n\n{entry.to_toml()}"
    parse_toml(path, longer, Site)
    return longer


def replace_site_file(path: Path, old_text: str, new_text: str) -> None:
    """Replace the file durably, whole or not at all; raises OutputError, also if it is no longer `old_text`."""
    try:
        if path.read_text(encoding="utf-8") != old_text:
            raise OutputError(f"{path} was changed meanwhile; nothing was written")
        replace_text(path, new_text)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
