"""Acts of custody in a process of their own that is killed at a chosen point: before a PKCS#11 call or a durable write.

The process is forked from a clean server that has imported everything, so a kill costs little more than the act.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from signer.custody.destruction import destroy_everywhere
from signer.store.key_store import KeyStore
from signer.tokens import ModuleConfig, TokenInfo
from signer.tokens.profiles import ModuleProfile
from tests.softhsm_fixtures import TokenRig
from tests.unit.custody.places import LABEL, Custodians, Place
from tests.unit.store.stores import change

# How many arguments each function has, all as wide as a pointer (PKCS#11 v2.40 base, chapter 5).
CALLS = {
    "C_CreateObject": 4,
    "C_CopyObject": 5,
    "C_DestroyObject": 2,
    "C_GetAttributeValue": 4,
    "C_SetAttributeValue": 4,
    "C_FindObjectsInit": 3,
    "C_SignInit": 3,
    "C_Sign": 5,
    "C_GenerateKey": 5,
    "C_GenerateKeyPair": 8,
    "C_WrapKey": 6,
    "C_UnwrapKey": 8,
    "C_DeriveKey": 6,
    "C_GenerateRandom": 3,
}
CHANGES = ("C_CreateObject", "C_CopyObject", "C_DestroyObject", "C_SetAttributeValue", "C_GenerateKeyPair")
"""Those after which something else may be on a token."""
WRITES = ("fsync", "replace", "link", "unlink")
STORE = ("register", "add_restored", "change_state", "end_instance", "end_backup")


@dataclass(frozen=True)
class Scene:
    """Where an act takes place, as another process can open it."""

    folder: Path
    store_path: Path
    tokens: Path
    config: ModuleConfig
    home: TokenInfo
    spare: TokenInfo
    environment: dict[str, str]
    profile: ModuleProfile | None = None
    """What the module was probed to be, to save the probing; in the campaign it is part of what is killed."""

    def rigs(self) -> tuple[TokenRig, TokenRig]:
        kind = "softhsm" if self.environment else "nss"
        return (
            TokenRig(kind, self.tokens, self.config, self.home, self.environment),
            TokenRig(kind, self.tokens, self.config, self.spare, self.environment),
        )

    def open(self) -> Any:
        home, spare = self.rigs()
        if self.home == self.spare:
            return Place.open_one(self.folder, self.store_path, home)
        return Place.open(self.folder, self.store_path, home, spare)


def generate(place: Place) -> None:
    place.generate(place.plan(copy=place.home is not place.spare))


def restore(place: Place) -> None:
    place.restore()


def destroy(place: Place) -> None:
    backups = [backup.digest for backup in place.record().backups]
    destroy_everywhere(place.store, LABEL, [place.home, place.spare], change(), backups_destroyed=backups)


ACTS: dict[str, Callable[[Place], None]] = {"generate": generate, "restore": restore, "destroy": destroy}


def run(scene: Scene, act: str, papers: dict[str, tuple[str, ...]], kill_at: int, pipe: Any) -> None:
    """Do the act, and die without a word before point number `kill_at`, from 1; 0: tell the names of all points."""
    os.environ.update(scene.environment)
    with scene.open() as place:
        place.custodians = Custodians(dict(papers))
        passed: list[str] = []

        def point(name: str) -> None:
            passed.append(name)
            if len(passed) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        if scene.profile is not None:
            place.home.module.profile = scene.profile
        _watch(place, point)
        ACTS[act](place)
        pipe.send(passed)


def _watch(place: Place, point: Callable[[str], None]) -> None:
    functions = place.home.module.functions
    for name, count in CALLS.items():
        types = (ctypes.c_void_p,) * count
        original = functions.original(name, *types)
        functions.replace(name, _before(original, name, point), *types)
    for name in WRITES:
        setattr(os, name, _before(getattr(os, name), name, point))
    for name in STORE:
        setattr(KeyStore, name, _around(getattr(KeyStore, name), name, point))


def _before(original: Callable[..., Any], name: str, point: Callable[[str], None]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        point(name)
        return original(*arguments, **keywords)

    return call


def _around(original: Callable[..., Any], name: str, point: Callable[[str], None]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        point(f"before {name}")
        result = original(*arguments, **keywords)
        point(f"after {name}")
        return result

    return call


_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "pkcs11", "shamir_mnemonic", "cryptography.hazmat.primitives.cmac"])


def points_of(scene: Scene, act: str, papers: dict[str, tuple[str, ...]]) -> list[str]:
    """The act is done; the names of everything at which it could have been killed."""
    reading, writing = _CONTEXT.Pipe(duplex=False)
    assert _start(scene, act, papers, 0, writing) == 0
    passed: list[str] = reading.recv()
    return passed


def kill_at(scene: Scene, act: str, papers: dict[str, tuple[str, ...]], number: int) -> None:
    """The act is cut before point `number`."""
    _, writing = _CONTEXT.Pipe(duplex=False)
    assert _start(scene, act, papers, number, writing) == -signal.SIGKILL


def _start(scene: Scene, act: str, papers: dict[str, tuple[str, ...]], number: int, pipe: Any) -> int | None:
    process = _CONTEXT.Process(target=run, args=(scene, act, papers, number, pipe))
    process.start()
    process.join(60)
    return process.exitcode
