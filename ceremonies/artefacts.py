"""The public things that a ceremony makes: files in its folder, each written whole and durably, and never changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ceremonies.rules import NOT_THIS_CEREMONYS
from pki.errors import CeremonyAborted, InputRefused, OutputError
from signer.durable import sync_folder
from signer.new_file import NewFile

SIZE_BYTES_MAX = 64 * 1024 * 1024
COUNT_MAX = 256


class Artefacts:
    """The folder `artefacts/` of one ceremony.

    What a step wrote is known by its digest, from this process or from the transcript: a file that somebody changed on
    the disk is not taken for it (CE-23).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, str] = {}
        self._written: list[str] = []

    def expect(self, name: str, sha256: str) -> None:
        """What the transcript says that an earlier step wrote."""
        self._digests[name] = sha256

    def take_written(self) -> list[dict[str, str]]:
        """Name and digest of what was written since this was asked last, for the step's result."""
        written, self._written = self._written, []
        return [{"name": name, "sha256": self._digests[name]} for name in written]

    def adopt(self, name: str) -> bytes:
        """Take an artefact that an act had written to its path; its content. Raises InputRefused, CeremonyAborted."""
        content = self.read(name)
        self._note(name, content)
        return content

    def _note(self, name: str, content: bytes) -> None:
        self._digests[name] = hashlib.sha256(content).hexdigest()
        if name not in self._written:
            self._written.append(name)

    def prepare(self) -> None:
        """Make the folder, and remove what a killed process had not finished writing. Raises OutputError."""
        try:
            if not self._folder.is_dir():
                self._folder.mkdir()
                sync_folder(self._folder.parent)
            for unfinished in self._folder.glob(".*.part"):
                unfinished.unlink()
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written ({error.strerror})") from None

    def path(self, name: str) -> Path:
        """Where the artefact of this name is, or will be."""
        return self._folder / name

    def has(self, name: str) -> bool:
        """Whether it is there; then it is whole."""
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        """A whole artefact. Raises InputRefused."""
        try:
            with self.path(name).open("rb") as stream:
                content = stream.read(SIZE_BYTES_MAX + 1)
        except OSError as error:
            raise InputRefused(f"artefact {name}: cannot be read ({error.strerror})") from None
        if len(content) > SIZE_BYTES_MAX:
            raise InputRefused(f"artefact {name}: has more than {SIZE_BYTES_MAX} bytes")
        digest = hashlib.sha256(content).hexdigest()
        if self._digests.get(name, digest) != digest:
            raise CeremonyAborted(
                NOT_THIS_CEREMONYS, f"the artefact {name} is not what the step before wrote: somebody changed it"
            )
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write one durably; with the same content it may be there from an interrupted run. Raises CeremonyAborted."""
        if self.has(name):
            if self.read(name) != content:
                raise CeremonyAborted(NOT_THIS_CEREMONYS, f"the artefact {name} is there, and says something else")
            self._note(name, content)
            return
        with NewFile(self.path(name)) as file:
            file.write_at(0, content)
            file.publish()
        self._note(name, content)

    def names(self) -> list[str]:
        """Every artefact, in order."""
        names = sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []
        return [name for name in names if not name.startswith(".")]

    def listing(self) -> list[dict[str, Any]]:
        """Name, digest and size of each, as the transcript has them."""
        listed = []
        for name in self.names():
            content = self.read(name)
            digest = hashlib.sha256(content).hexdigest()
            listed.append({"name": name, "sha256": digest, "size_bytes": len(content)})
        return listed
