"""The tree level by level against the RFC's recursion, pymerkle as a process, and the log's own code."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from signer.grants.layout import level_sizes
from signer.grants.merkle import leaf_hash, next_level, root_from, siblings
from signer.log.merkle import root_from_inclusion, root_of
from tests.unit.reference import grants_by_hand
from tests.unit.reference.builders import sha256

ORACLE = Path(__file__).resolve().parents[3] / ".venv-oracles" / "bin" / "python"
SIZES = range(1, 71)
# One entry a line; then, for each size, the root and the inclusion proof of each entry, all as pymerkle says.
PROGRAM = """
import sys
from pymerkle import InmemoryTree, verify_inclusion
lines = [bytes.fromhex(line) for line in sys.stdin]
tree = InmemoryTree(algorithm="sha256")
for size, entry in enumerate(lines, 1):
    tree.append_entry(entry)
    print(tree.get_state().hex())
    for index in range(size):
        proof = tree.prove_inclusion(index + 1, size)
        print(*[part.hex() for part in proof.path[1:]])
"""


def leaves(count: int) -> list[bytes]:
    return [sha256(b"fake leaf %d" % number) + bytes(24) for number in range(count)]


def levels_of(count: int) -> list[bytes]:
    """All levels, the root too."""
    found = [b"".join(map(leaf_hash, leaves(count)))]
    while len(found[-1]) > 32:
        found.append(next_level(found[-1]))
    return found


def proof_of(index: int, count: int) -> list[bytes]:
    levels = levels_of(count)
    return [levels[level][32 * at : 32 * at + 32] for level, at in siblings(index, count)]


@pytest.mark.parametrize("count", SIZES)
def test_levels_and_proofs_are_those_of_the_recursion(count: int) -> None:
    levels = levels_of(count)
    assert levels[-1] == grants_by_hand.tree_hash(leaves(count)) == root_of(map(leaf_hash, leaves(count)))
    assert tuple(len(level) // 32 for level in levels[:-1]) == level_sizes(count)
    for index in range(count):
        proof = proof_of(index, count)
        assert proof == grants_by_hand.path(index, leaves(count))
        assert root_from(index, count, leaves(count)[index], proof) == levels[-1]
        assert root_from_inclusion(index, count, leaf_hash(leaves(count)[index]), proof) == levels[-1]


def test_roots_and_proofs_are_those_of_pymerkle() -> None:
    done = subprocess.run(
        [ORACLE, "-I", "-c", PROGRAM],
        input="".join(f"{leaf.hex()}\n" for leaf in leaves(max(SIZES))),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = iter(done.stdout.split("\n"))
    for count in SIZES:
        assert next(said) == levels_of(count)[-1].hex()
        for index in range(count):
            assert next(said).split() == [one.hex() for one in proof_of(index, count)]


@pytest.mark.parametrize("count", [2, 5, 8, 70])
def test_a_proof_of_another_length_is_refused(count: int) -> None:
    for index in range(count):
        proof = proof_of(index, count)
        for wrong in (proof[:-1], [*proof, bytes(32)]):
            with pytest.raises(ValueError, match="too"):
                root_from(index, count, leaves(count)[index], wrong)


def test_a_level_has_half_as_many_hashes_as_the_one_below_rounded_up() -> None:
    sizes = level_sizes(1_000_003)
    assert all(above == -(-below // 2) for below, above in pairwise(sizes))
    assert level_sizes(1) == ()
