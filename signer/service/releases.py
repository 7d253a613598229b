"""The releases made so far, as evidence files in the authority repository (docs/spec/release-evidence.md)."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from pki.errors import ConfigurationError, FormatError, PolicyViolation
from signer.packages.terms import ImageVersion
from signer.service.evidence import EVIDENCE_SIZE_BYTES_MAX, ReleaseEvidence, decode_evidence

FILES_MAX = 10_000
_NAME = re.compile(
    r"(application|bootloader|factory-test)-(\d{1,3}\.\d{1,3}\.\d{1,5}(?:\+\d{1,10})?)(?:\.([0-9a-f]{16}))?\.evidence\.json",
    re.ASCII,
)


class Release(msgspec.Struct, frozen=True):
    """One release: the file it is read from, its version, and what the file says (unverified)."""

    path: Path
    version: ImageVersion
    evidence: ReleaseEvidence


class ReleaseHistory:
    """The folder `releases/` of an authority repository. Files are named for kind and version, and read when needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, product: str, kind: str) -> Release | None:
        """The last release of a product and kind, None if there is none.

        Raises ConfigurationError for a folder that cannot be read, and for a file that does not say what its name says.
        """
        named = [(version, path) for found, version, path in self._named(product) if found == kind]
        if not named:
            return None
        newest = max(version for version, _ in named)
        releases = [self._read(product, kind, newest, path) for version, path in named if version == newest]
        return max(releases, key=lambda release: (release.evidence.package.security_version, release.path.name))

    def path_for(self, evidence: ReleaseEvidence, request_digest: bytes) -> Path:
        """Where the evidence of this release goes: one more of the same version has its request's digest in the name.

        An existing file of the same request keeps its name. Raises ConfigurationError as `last` does.
        """
        package = evidence.package
        stem = f"{package.kind}-{package.version}"
        plain = self._folder / package.product / f"{stem}.evidence.json"
        if plain.exists():
            found = self._read(package.product, package.kind, ImageVersion.parse(package.version), plain)
            if found.evidence.request.statement != evidence.request.statement:
                return plain.with_name(f"{stem}.{request_digest.hex()[:16]}.evidence.json")
        return plain

    def _named(self, product: str) -> list[tuple[str, ImageVersion, Path]]:
        folder = self._folder / product
        if not folder.is_dir():
            return []
        paths = sorted(folder.glob("*.evidence.json"))
        if len(paths) > FILES_MAX:
            raise ConfigurationError(f"{folder} holds more than {FILES_MAX} files")
        found = []
        for path in paths:
            match = _NAME.fullmatch(path.name)
            if match is None:
                raise ConfigurationError(f"{path}: not named KIND-VERSION.evidence.json; remove it or give it its name")
            found.append((match.group(1), ImageVersion.parse(match.group(2)), path))
        return found

    def _read(self, product: str, kind: str, version: ImageVersion, path: Path) -> Release:
        try:
            with path.open("rb") as stream:
                evidence = decode_evidence(stream.read(EVIDENCE_SIZE_BYTES_MAX + 1))
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
        except (FormatError, PolicyViolation) as error:
            raise ConfigurationError(f"{path}: {error}") from None
        package = evidence.package
        if (package.product, package.kind, package.version) != (product, kind, str(version)):
            raise ConfigurationError(
                f"{path}: is evidence of {package.kind} {package.version} of {package.product!r}, as its name is not"
            )
        return Release(path, version, evidence)
