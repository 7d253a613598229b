"""The intent of an act of custody, written before it: what a kill left is recognised and ended by the next call.

Beside the intents to generate keys (signer/authority/key_intents.py), under the same lock: one act at a time, of
whichever kind, and one for each label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from pki.errors import ConfigurationError, OutputError
from pki.key_specs import parse_key_label
from signer.authority.intent_files import remove_intent_file, write_intent_file
from signer.authority.key_intents import CUSTODY_FOLDER, KeyIntents, intent_file_name

INTENT_FORMAT: Final = "strongroom-custody-intent-1"
_SIZE_BYTES_MAX = 16_384
_COUNT_MAX = 1000

_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Act(StrEnum):
    """What was begun."""

    GENERATE = "generate"
    RESTORE = "restore"


class CustodyIntent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was begun with which key, on which tokens (serial, label), since when (`stored_times`) and by whom.

    `token` is the key's own, or the one it is restored to; `file` the path of the backup file, and `file_digest` its
    SHA-256 once it is written (or, when restoring, before).
    """

    format: Literal["strongroom-custody-intent-1"] = INTENT_FORMAT
    act: Act
    label: str
    token: tuple[str, str]
    copies_on: tuple[tuple[str, str], ...] = ()
    file: str | None = None
    file_digest: _Digest | None = None
    begun_at: str
    who: str


class CustodyIntents:
    """The custody intents of one authority repository; `folder` is that of its key intents."""

    def __init__(self, folder: Path) -> None:
        self.of_keys = KeyIntents(folder)
        self._folder = folder / CUSTODY_FOLDER

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the lock of all intents. Raises InputRefused while another process holds it, OutputError."""
        with self.of_keys.exclusively():
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{self._folder}: cannot be written ({error.strerror})") from None
            yield

    def path(self, label: str) -> Path:
        """The file of an intent."""
        return self._folder / intent_file_name(label)

    def all(self) -> list[CustodyIntent]:
        """Every intent, sorted by label: each an interrupted act, unless one is running. Raises ConfigurationError."""
        paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        if len(paths) > _COUNT_MAX:
            raise ConfigurationError(f"{self._folder} holds more than {_COUNT_MAX} files")
        return [self._read(path) for path in paths]

    def of(self, label: str) -> CustodyIntent | None:
        """The intent of a key; None if there is none. Raises ConfigurationError for one that is damaged."""
        path = self.path(label)
        return self._read(path) if path.exists() else None

    def write(self, intent: CustodyIntent) -> None:
        """Record an intent durably, in place of the one before of the same key. Raises OutputError."""
        write_intent_file(self.path(intent.label), msgspec.json.encode(intent).decode() + "\n")

    def remove(self, label: str) -> None:
        """Forget an intent that is fulfilled, or was given up with nothing left. Raises OutputError."""
        remove_intent_file(self.path(label))

    def _read(self, path: Path) -> CustodyIntent:
        try:
            intent = msgspec.json.decode(path.read_bytes()[:_SIZE_BYTES_MAX], type=CustodyIntent)
            parse_key_label(intent.label)
            if self.path(intent.label) != path:
                raise ConfigurationError("not the file of its label")
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
        except (msgspec.DecodeError, UnicodeDecodeError, ConfigurationError):
            raise ConfigurationError(
                f"{path}: is damaged. `strongroom key audit` says whether a token has a key that the store does not "
                "know; then remove the file"
            ) from None
        return intent
