"""Callers of many threads share commits, and each gets its own answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pki.errors import AuditError, Rollback
from signer.log.audit_log import TileLog
from signer.log.group_commit import GroupCommit, Waiting
from signer.log.values import Event, EventKind
from tests.unit.log.logs import event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import verify_log

THREADS, EACH = 16, 40


class CountedLog(TileLog):
    commits = 0

    def _commit(self, group: list[Waiting]) -> None:  # type: ignore[type-arg]
        self.commits += 1
        super()._commit(group)


def test_threads_share_commits_and_every_entry_is_there_once() -> None:
    key = SoftwareKey()
    with fast_folder() as folder:
        new_log(folder / "log", key).close()
        with CountedLog(folder / "log", key) as log:

            def work(thread: int) -> list[int]:
                return [log.append([event(number, thread=thread)], later(1))[0].index for number in range(EACH)]

            with ThreadPoolExecutor(THREADS) as pool:
                indices = list(pool.map(work, range(THREADS)))
            assert sorted(index for found in indices for index in found) == list(range(1, THREADS * EACH + 1))
            assert all(found == sorted(found) for found in indices)
            assert log.commits < THREADS * EACH
            for thread, found in enumerate(indices):
                entries = [entry for entry in log.entries(1) if entry.event.details["thread"] == thread]
                assert [entry.index for entry in entries] == found
            log.checkpoint()
        verify_log(folder / "log", [key.pem])


def test_one_caller_s_mistake_is_its_own() -> None:
    key = SoftwareKey()
    bad = Event(kind=EventKind.RELEASED, actor="ada", details={"rate": 0.5})
    with fast_folder() as folder, new_log(folder / "log", key) as log:
        log.append([event()], later(10))

        def work(number: int) -> str:
            try:
                if number % 3 == 0:
                    log.append([event(), bad], later(10))
                elif number % 3 == 1:
                    log.append([event()], later(5))
                else:
                    log.append([event()], later(10))
            except AuditError:
                return "audit"
            except Rollback:
                return "rollback"
            return "done"

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(90))) == ["audit", "rollback", "done"] * 30
        assert log.size == 2 + 30


def test_a_commit_that_fails_fails_for_all_of_its_group_and_no_other() -> None:
    gate, entered = threading.Event(), threading.Event()
    groups: list[list[int]] = []

    def commit(group: list[Waiting[int, int]]) -> None:
        groups.append([waiting.order for waiting in group])
        entered.set()
        assert gate.wait(10)
        if len(groups) == 2:
            raise AuditError("the disk is full")
        for waiting in group:
            waiting.answer = waiting.order * 10

    together = GroupCommit(commit, 100)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(together.carry_out, 1)
        assert entered.wait(10)
        others = [pool.submit(together.carry_out, number) for number in range(2, 7)]
        while len(together._queue) < 5:
            pass
        gate.set()
        assert first.result(10) == 10
        for other in others:
            with pytest.raises(AuditError, match="disk is full"):
                other.result(10)
        assert together.carry_out(9) == 90
    assert groups[0] == [1]
    assert sorted(groups[1]) == [2, 3, 4, 5, 6]


def test_a_group_has_a_bound() -> None:
    sizes: list[int] = []
    gate = threading.Event()

    def commit(group: list[Waiting[int, int]]) -> None:
        gate.wait(10)
        sizes.append(len(group))
        for waiting in group:
            waiting.answer = 1

    together = GroupCommit(commit, 3)
    with ThreadPoolExecutor(10) as pool:
        made = [pool.submit(together.carry_out, number) for number in range(10)]
        gate.set()
        assert [item.result(10) for item in made] == [1] * 10
    assert max(sizes) <= 3
    assert sum(sizes) == 10
