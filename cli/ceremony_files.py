"""The files of a ceremony: its folder in the authority repository, its plan, and everything that its digest covers."""

from __future__ import annotations

from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ceremonies.artefacts import Artefacts
from ceremonies.plan import CeremonyPart, Plan, ceremony_of, parse_plan
from ceremonies.review import review_document, reviewed_digest
from ceremonies.rules import CHANGED_MEANWHILE
from ceremonies.script import Script, make_script, product_name
from pki.errors import CeremonyAborted, ConfigurationError, InputRefused
from policies.names import is_slug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signer.authority.model import Product, Site
    from signer.authority.repository import AuthorityRepository

_FILE_SIZE_BYTES_MAX = 64 * 1024 * 1024
_ROOMS = ("ceremonies", "cli", "pki", "policies", "signer")
_SOURCE_SUFFIXES = {".py", ".yaml", ".txt", ".cedar", ".json", ".toml"}


class CeremonyFolder(msgspec.Struct, frozen=True):
    """`ceremonies/NAME/` of an authority repository (docs/spec/ceremony-transcript.md)."""

    path: Path

    @property
    def plan(self) -> Path:
        """The plan: what is reviewed."""
        return self.path / "plan.yaml"

    @property
    def review(self) -> Path:
        """The document that the reviewed digest is of."""
        return self.path / "review.json"

    @property
    def rehearsal(self) -> Path:
        """The golden transcript."""
        return self.path / "rehearsal.jsonl"

    @property
    def transcript(self) -> Path:
        """What happened."""
        return self.path / "transcript.jsonl"

    @property
    def head(self) -> Path:
        """The text that witnesses sign."""
        return self.path / "head.txt"

    @property
    def artefacts(self) -> Artefacts:
        """What was made."""
        return Artefacts(self.path / "artefacts")


class LoadedCeremony(msgspec.Struct, frozen=True, kw_only=True):
    """A ceremony as it stands in the repository now. `digest` is what people review."""

    folder: CeremonyFolder
    plan: Plan
    part: CeremonyPart
    script: Script
    site: Site
    product: Product | None
    review: bytes
    files: dict[str, bytes]

    @property
    def digest(self) -> bytes:
        """The digest to review, 32 bytes."""
        return reviewed_digest(self.review)


def ceremony_folder(repository: AuthorityRepository, name: str) -> CeremonyFolder:
    """Where a ceremony of this name is, or will be. Raises ConfigurationError for what is no name."""
    if not is_slug(name):
        raise ConfigurationError(f"{name!r} is no name: use lower-case letters, digits and inner hyphens")
    return CeremonyFolder(repository.root / "ceremonies" / name)


def existing_folder(repository: AuthorityRepository, name: str) -> CeremonyFolder:
    """The folder of a ceremony that exists. Raises ConfigurationError that names those there are."""
    folder = ceremony_folder(repository, name)
    if not folder.plan.is_file():
        have = ", ".join(ceremony_names(repository)) or "none"
        raise ConfigurationError(f"there is no ceremonies/{name}/plan.yaml in {repository.root} (there: {have})")
    return folder


def ceremony_names(repository: AuthorityRepository) -> list[str]:
    """Names of all ceremonies, in order."""
    return sorted(path.parent.name for path in (repository.root / "ceremonies").glob("*/plan.yaml"))


def load_ceremony(repository: AuthorityRepository, name: str) -> LoadedCeremony:
    """Read a ceremony and all that decides what it will do. Raises ConfigurationError CE-01 to CE-07, InputRefused."""
    folder = existing_folder(repository, name)
    shown = f"ceremonies/{name}/plan.yaml"
    files = {shown: _read(repository.root, shown)}
    plan = parse_plan(files[shown], shown)
    part = ceremony_of(plan, shown)
    if part.name != name:
        raise ConfigurationError(f"{shown}: `name` is {part.name!r}; make it equal to the folder's")
    product_file = product_name(plan, part)
    product = None if product_file is None else repository.product(product_file)
    site = repository.site(part.site)
    script = make_script(plan, part, site, repository.people, product)
    for path in _deciding_files(repository, part.site, product):
        files[path] = _read(repository.root, path)
    for path in script.files:
        files[path] = _read(repository.root, path)
    review = review_document(name, files, tool_version(), tool_digest())
    return LoadedCeremony(
        folder=folder, plan=plan, part=part, script=script, site=site, product=product, review=review, files=files
    )


def require_unchanged(repository: AuthorityRepository, ceremony: LoadedCeremony) -> None:
    """That the repository still says what was reviewed. Raises CeremonyAborted CE-17 that names what changed."""
    there = {*_deciding_files(repository, ceremony.part.site, ceremony.product), *ceremony.files}
    for path in sorted(there):
        if path not in ceremony.files or _read(repository.root, path) != ceremony.files[path]:
            raise CeremonyAborted(CHANGED_MEANWHILE, f"{path} was changed since the ceremony began; put it back")


def _deciding_files(repository: AuthorityRepository, site: str, product: Product | None) -> Iterator[str]:
    yield from ("strongroom.toml", "people.toml", f"sites/{site}.toml")
    if product is not None:
        yield from (f"products/{product.name}.toml", f"boards/{product.board}.toml")
    if (repository.root / "allowed_signers").is_file():
        yield "allowed_signers"
    for path in sorted((repository.root / "policies").glob("*")):
        if path.is_file():
            yield f"policies/{path.name}"


def _read(root: Path, relative: str) -> bytes:
    path = root / relative
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise InputRefused(f"{relative} leads out of the authority repository; copy the file into it")
        with path.open("rb") as stream:
            content = stream.read(_FILE_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise InputRefused(f"{relative}: cannot be read ({error.strerror})") from None
    if len(content) > _FILE_SIZE_BYTES_MAX:
        raise InputRefused(f"{relative}: has more than {_FILE_SIZE_BYTES_MAX} bytes")
    return content


# The program


@cache
def tool_version() -> str:
    """The version of this program."""
    return metadata.version("strongroom")


@cache
def tool_digest() -> str:
    """SHA-256 over every source file of the rooms that take part, in hexadecimal: the program that was reviewed."""
    import hashlib

    state = hashlib.sha256()
    for room in _ROOMS:
        root = Path(str(resources.files(room)))
        for path in sorted(root.rglob("*")):
            if path.suffix in _SOURCE_SUFFIXES and path.is_file():
                content = path.read_bytes()
                state.update(f"{room}/{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return state.hexdigest()


# Shipped plans


def shipped_plans() -> dict[str, str]:
    """The plans that come with the program: name to text."""
    folder = resources.files("ceremonies").joinpath("plans")
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".yaml")}
    return {name.removesuffix(".yaml"): texts[name] for name in sorted(texts)}


def new_plan_text(shipped: str, part: dict[str, Any]) -> str:
    """A ceremony's plan: the shipped one as it is, and the part that makes it this ceremony, at its end."""
    lines = [shipped.rstrip("\n"), "ceremony:", *_yaml_lines(part, "  ")]
    return "\n".join(lines) + "\n"


def _yaml_lines(values: dict[str, Any], indent: str) -> Iterator[str]:
    import json

    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:" + ("" if value else " {}")
            yield from _yaml_lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{name}: [{', '.join(str(item) for item in value)}]"
        else:
            # A JSON string is a double-quoted scalar of YAML 1.2 (section 1.3).
            yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}"
