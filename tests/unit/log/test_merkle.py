"""The tree of RFC 6962: the published example, and every proof of every small tree."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from pki.errors import AuditError
from signer.log.entry import leaf_hash
from signer.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    frontier_at,
    inclusion_proof,
    is_consistent,
    root_at,
    root_from_inclusion,
    root_of,
    subtree_from_leaves,
)
from signer.log.tiles import TileReader, TileWriter, read_bundle, tile_path
from tests.unit.log.logs import fast_folder

# The leaves and roots that implementations of Certificate Transparency test themselves with.
EXAMPLE = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = 70


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(count)]


def test_the_published_roots() -> None:
    hashes = [leaf_hash(bytes.fromhex(text)) for text in EXAMPLE]
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [root_of(hashes[:size]).hex() for size in range(1, 9)] == ROOTS


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def test_the_published_proofs() -> None:
    """RFC 6962, section 2.1.3, in the letters of its figure, with the example's seven leaves."""
    hashes = [leaf_hash(bytes.fromhex(text)) for text in EXAMPLE[:7]]
    a, b, c, d, e, f, j = hashes
    g, h, i = node(a, b), node(c, d), node(e, f)
    k, l = node(g, h), node(i, j)  # noqa: E741
    tree = subtree_from_leaves(hashes)
    assert inclusion_proof(0, 7, tree) == (b, h, l)
    assert inclusion_proof(3, 7, tree) == (c, g, l)
    assert inclusion_proof(4, 7, tree) == (f, j, k)
    assert inclusion_proof(6, 7, tree) == (i, k)
    assert consistency_proof(3, 7, tree) == (c, d, g, l)
    assert consistency_proof(4, 7, tree) == (l,)
    assert consistency_proof(6, 7, tree) == (i, j, k)


@pytest.mark.parametrize("size", range(1, SIZES))
def test_every_inclusion_proof_leads_to_the_root_and_no_other_does(size: int) -> None:
    hashes = leaves(size)
    tree, root = subtree_from_leaves(hashes), root_of(hashes)
    for index in range(size):
        proof = inclusion_proof(index, size, tree)
        assert root_from_inclusion(index, size, hashes[index], proof) == root
        for wrong in (proof[:-1], (*proof, root), proof[1:]):
            if wrong != proof:
                with suppress(ValueError):
                    assert root_from_inclusion(index, size, hashes[index], wrong) != root
        other = (index + 1) % size
        if other != index:
            with suppress(ValueError):
                assert root_from_inclusion(other, size, hashes[index], proof) != root


@pytest.mark.parametrize("size", range(1, SIZES))
def test_every_consistency_proof_holds_and_no_other_does(size: int) -> None:
    hashes = leaves(size)
    tree, root = subtree_from_leaves(hashes), root_of(hashes)
    for old in range(size + 1):
        proof, old_root = consistency_proof(old, size, tree), root_of(hashes[:old])
        assert is_consistent(old, old_root, size, root, proof)
        assert not is_consistent(old, hashes[0] if size > 1 else b"", size, root, proof) or old_root == hashes[0]
        assert not is_consistent(old, old_root, size, hashlib.sha256(root).digest(), proof) or old == 0
        assert not is_consistent(old, old_root, size, root, (*proof, root))
        if proof:
            assert not is_consistent(old, old_root, size, root, proof[:-1])
    assert not is_consistent(size + 1, root, size, root, ())


@pytest.mark.parametrize("size", range(SIZES))
def test_the_right_edge_grows_as_the_tree_does(size: int) -> None:
    hashes = leaves(size)
    edge = Frontier()
    for value in hashes:
        edge.add(value)
    tree = subtree_from_leaves(hashes)
    assert edge.root == root_of(hashes) == root_at(size, tree) == frontier_at(size, tree).root


# Tiles


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 0, 1, "tile/0/000.p/1"),
        ("entries", 999, 112, "tile/entries/999.p/112"),
        (1, 1000, 256, "tile/1/x001/000"),
        (63, 1234067, 255, "tile/63/x001/x234/067.p/255"),
        ("entries", 1234067, 256, "tile/entries/x001/x234/067"),
    ],
)
def test_paths_are_those_of_tlog_tiles(level: int | str, number: int, width: int, path: str) -> None:
    assert tile_path(level, number, width) == path


def test_a_tree_of_70000_has_the_tiles_of_the_specification_s_example() -> None:
    with fast_folder() as folder:
        writer = TileWriter(folder, 0, [])
        for number in range(70_000):
            writer.add(number.to_bytes(4, "big"))
        writer.finish()
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        levels = {level: [path for path in files if path.startswith(f"tile/{level}/")] for level in ("0", "1", "2")}
        assert {level: len(paths) for level, paths in levels.items()} == {"0": 274, "1": 2, "2": 1}
        assert {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= files
        assert not [path for path in files if path.startswith("tile/3")]
        assert len([path for path in files if path.startswith("tile/entries/")]) == 274
        expected = root_of(leaf_hash(number.to_bytes(4, "big")) for number in range(70_000))
        assert writer.root == root_at(70_000, TileReader(folder, 70_000).subtree) == expected


@pytest.mark.parametrize("sizes", [(0, 1, 255, 256, 257), (0, 256, 512, 700), (0, 65_536, 65_537)])
def test_tiles_grow_in_steps_to_what_they_would_be_at_once(sizes: tuple[int, ...]) -> None:
    entries = [number.to_bytes(4, "big") for number in range(sizes[-1])]
    with fast_folder() as stepwise, fast_folder() as at_once:
        for old, new in pairwise(sizes):
            writer = TileWriter(stepwise, old, entries[old - old % 256 : old])
            assert writer.root == root_of(map(leaf_hash, entries[:old]))
            for entry in entries[old:new]:
                writer.add(entry)
            writer.finish()
            writer.remove_superseded()
        writer = TileWriter(at_once, 0, [])
        for entry in entries:
            writer.add(entry)
        writer.finish()
        needed = {path.relative_to(at_once): path.read_bytes() for path in at_once.rglob("*") if path.is_file()}
        have = {path.relative_to(stepwise): path.read_bytes() for path in stepwise.rglob("*") if path.is_file()}
        assert needed.items() <= have.items()
        assert not [path for path in have if ".p" in str(path) and Path(str(path).split(".p")[0]) in have]
        for old in sizes:
            assert root_at(old, TileReader(stepwise, old).subtree) == root_of(map(leaf_hash, entries[:old]))


def test_a_bundle_that_is_not_whole_is_refused() -> None:
    with fast_folder() as folder:
        writer = TileWriter(folder, 0, [])
        for number in range(3):
            writer.add(bytes([number]) * number)
        writer.finish()
        path = folder / tile_path("entries", 0, 3)
        whole = path.read_bytes()
        assert read_bundle(folder, 0, 3) == [b"", b"\1", b"\2\2"]
        for bad in (whole[:-1], whole + b"\0", b"", b"\xff" * 9):
            path.write_bytes(bad)
            with pytest.raises(AuditError, match="damaged"):
                read_bundle(folder, 0, 3)
