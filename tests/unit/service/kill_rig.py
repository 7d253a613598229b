"""Kills a signing call by SIGKILL before its nth step: a durable write, a name given or taken, an append, a signature.

The call runs in a forked child, with the real log on disk; what it leaves is what a power cut leaves, as far as a
process can show.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pki.values import Digest, PublicKey, Scheme, Signature
from signer.log.audit_log import TileLog, open_audit_log
from signer.log.recovery import begin_log
from signer.log.values import EventKind
from signer.service.values import SignOrder, Verdict
from tests.unit.log.software_key import SoftwareKey
from tests.unit.service.world import NOW, LabelledKey, ServiceWorld

_SYSCALLS = ("fsync", "link", "rename", "replace", "unlink")


class Killer:
    """Counts steps; at the chosen one the process is gone."""

    def __init__(self, step: int) -> None:
        self.steps_left = step

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with a step before and one after."""

        def stepping(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = function(*arguments, **named)
            self.step()
            return result

        return stepping


class CountedKey:
    """A release key that notes each signature in a file, before it makes it: the count outlives the process."""

    def __init__(self, inner: LabelledKey, tally: Path, killer: Killer) -> None:
        self._inner = inner
        self._tally = tally
        self._sign = killer.around(inner.sign)
        self.label = inner.label

    @property
    def public_key(self) -> PublicKey:
        return self._inner.public_key

    def at_hand(self) -> object:
        return self._inner.at_hand()

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        descriptor = os.open(self._tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, b".")
        os.close(descriptor)
        signature: Signature = self._sign(digest, scheme)
        return signature


class SteppingLog:
    """The log, with a step before and after each append."""

    def __init__(self, inner: TileLog, killer: Killer) -> None:
        self._inner = inner
        self.append = killer.around(inner.append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class LateLog(SteppingLog):
    """A defect, for the control: results are written only when the log is next asked, after the release."""

    def __init__(self, inner: TileLog, killer: Killer) -> None:
        super().__init__(inner, killer)
        self._waiting: list[Any] = []
        self._append, self.append = self.append, self._append_late

    def _append_late(self, events: Any, now: Any) -> Any:
        if events[0].kind is EventKind.SIGN_RESULT:
            self._waiting.append((events, now))
            return (None,)
        return self._append(events, now)

    def find(self, name: str, value: str) -> Any:
        for events, now in self._waiting:
            self._append(events, now)
        self._waiting.clear()
        return self._inner.find(name, value)


class SteppingJudge:
    def __init__(self, killer: Killer) -> None:
        self._killer = killer

    def judge(self, product: str, package: Path) -> Verdict:
        self._killer.step()
        return Verdict(True, "a new device", "")


class KilledWorld(ServiceWorld):
    """A service world whose log is on disk."""

    log_key = SoftwareKey()
    log_type: type[SteppingLog] = SteppingLog

    def begin(self) -> None:
        begin_log(self.folder / "log", self.log_key, "builder", NOW)

    @property
    def tally(self) -> Path:
        return self.folder / "signatures"

    @property
    def signature_count(self) -> int:
        return self.tally.stat().st_size if self.tally.exists() else 0

    def sign_counted(self, order: SignOrder, killer: Killer) -> Any:
        """Sign with the log on disk, counting signatures, killed at the killer's step."""
        with open_audit_log(self.folder / "log", self.log_key) as log:
            for keys in self.keys.release.values():
                keys[:] = [CountedKey(key, self.tally, killer) for key in keys]  # type: ignore[misc]
            return self.service(log=self.log_type(log, killer), judge=SteppingJudge(killer)).sign(order)

    def sign_killed_at(self, order: SignOrder, step: int) -> bool:
        """Whether the child was killed: not, if it had fewer steps."""
        child = os.fork()
        if child == 0:
            killer = Killer(step)
            with pytest.MonkeyPatch.context() as patch:
                for name in _SYSCALLS:
                    patch.setattr(os, name, killer.around(getattr(os, name)))
                try:
                    self.sign_counted(order, killer)
                except BaseException:  # noqa: BLE001 (the parent sees it by the exit code)
                    os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return False
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
