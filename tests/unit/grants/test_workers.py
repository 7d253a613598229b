"""Worker processes: what they are told, and what happens when one is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest

from pki.errors import OutputError
from signer.grants.leaves import Recipe
from signer.grants.rules import GrantRefused
from signer.grants.workers import core_count, parts
from tests.unit.grants import rig

RECIPE = Recipe(
    ephemeral_private=rig.ephemeral_by_hand().private,
    ephemeral_public_key=rig.ephemeral_by_hand().public,
    content_key=rig.PACKAGE_PLAN.content_key,
    product_id=bytes(15) + b"\1",
    image_salt=bytes(32),
)
BLOCK = b"".join(one.uid + one.agreement.public for one in rig.devices(8))


def test_workers_get_no_secret_by_arguments_or_environment_and_end_with_the_batch() -> None:
    seen = []

    def blocks() -> Iterator[bytes]:
        for _ in range(20):
            yield BLOCK
            for child in active_children():
                folder = Path(f"/proc/{child.pid}")
                seen.append((folder / "cmdline").read_bytes() + (folder / "environ").read_bytes())

    assert len(list(parts(RECIPE, blocks(), 2))) == 20
    assert seen
    for secret in (RECIPE.ephemeral_private, RECIPE.content_key):
        for text in seen:
            assert secret not in text
            assert secret.hex().encode() not in text
    assert active_children() == []


def test_a_killed_worker_ends_the_batch() -> None:
    def blocks() -> Iterator[bytes]:
        yield BLOCK
        for child in active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        for _ in range(100):
            yield BLOCK

    with pytest.raises(OutputError, match="worker process"):
        list(parts(RECIPE, blocks(), 2))
    assert active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_point_off_the_curve_is_refused_by_workers_too(workers: int) -> None:
    bad = BLOCK[:-64] + bytes(64)
    with pytest.raises(GrantRefused) as caught:
        list(parts(RECIPE, iter([BLOCK, bad]), workers))
    assert caught.value.rule_id == "GR-03"
    assert active_children() == []


def test_a_caller_who_gives_up_leaves_no_worker() -> None:
    made = parts(RECIPE, iter([BLOCK] * 50), 2)
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert active_children() == []


def test_at_least_one_core_works() -> None:
    assert core_count() >= 1
