"""Files of grants against files made by hand from the specification: every byte, on one worker and on several."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.values import Digest, Signature
from signer.grants.batch import GrantBatch
from signer.grants.content_keys import require_committed
from signer.grants.file import GrantFile
from signer.grants.layout import GrantFileLayout
from signer.grants.leaves import Recipe
from signer.grants.lookup import grant_of
from signer.grants.making import EphemeralScalar, GrantOrder, make_grants, not_signed
from signer.grants.rules import GrantRefused
from signer.new_file import NewFile
from tests.unit.grants import rig
from tests.unit.reference import grants_by_hand
from tests.unit.reference.builders import sha256

SMALL = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33)


def file_by_hand(count: int) -> bytes:
    """docs/spec/grant.md, section 4, written once more: levels from the leaf hashes, pair by pair."""
    plan = rig.plan(count)
    leaves = [grants_by_hand.leaf_of(plan, one) for one in plan.recipients]
    level = [sha256(b"\0", leaf) for leaf in leaves]
    levels = []
    while len(level) > 1:
        levels += level
        above = [sha256(b"\1", level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = above + level[len(above) * 2 :]
    content = grants_by_hand.batch_of(plan) + b"".join(leaves) + b"".join(levels)
    return content + sha256(content)


@pytest.mark.parametrize("count", SMALL)
def test_the_file_is_the_one_of_the_specification(tmp_path: Path, count: int) -> None:
    assert rig.make(tmp_path, count).read_bytes() == file_by_hand(count)


@pytest.mark.parametrize("count", SMALL)
def test_each_device_gets_the_grant_of_the_specification(tmp_path: Path, count: int) -> None:
    path = rig.make(tmp_path, count)
    for index, one in enumerate(rig.devices(count)):
        assert grant_of(path, one.uid[:12], rig.SIGNER_KEY) == grants_by_hand.grant_of(rig.plan(count), index)


def test_any_number_of_workers_makes_the_same_file(tmp_path: Path) -> None:
    """Parts of 1,024 devices; the last one is not full, and the tree is higher than a part."""
    count = 4 * 1024 + 77
    files = [rig.make(tmp_path, count, workers, name=f"{workers}.srg").read_bytes() for workers in (1, 2, 3)]
    assert files[0] == files[1] == files[2]
    with GrantFile(tmp_path / "3.srg") as file:
        file.require_whole()
        root = file.signed_batch.batch.root
        leaves = [file.leaf(index) for index in range(count)]
    assert root == grants_by_hand.tree_hash(leaves)
    plan = rig.plan(count)
    for index in (0, 1023, 1024, count - 2, count - 1):
        assert leaves[index] == grants_by_hand.leaf_of(plan, plan.recipients[index])


@pytest.mark.parametrize("count", [1023, 1024, 1025, 2048, 2049])
def test_where_a_part_ends(tmp_path: Path, count: int) -> None:
    path = rig.make(tmp_path, count)
    with GrantFile(path) as file:
        file.require_whole()
        assert file.signed_batch.batch.root == grants_by_hand.tree_hash([file.leaf(at) for at in range(count)])


def test_the_key_signs_once(tmp_path: Path) -> None:
    asked: list[Digest] = []

    def sign(batch: GrantBatch) -> Signature:
        asked.append(batch.digest)
        return rig.sign(batch)

    rig.make(tmp_path, 3000, signer=sign)
    assert len(asked) == 1


def test_a_prepared_file_differs_in_signature_and_trailer_only(tmp_path: Path) -> None:
    prepared, signed = rig.make(tmp_path, 9, signer=not_signed, name="p").read_bytes(), file_by_hand(9)
    assert prepared[192:256] == bytes(64)
    assert prepared[:192] + prepared[256:-32] == signed[:192] + signed[256:-32]


def test_another_content_key_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(GrantRefused) as caught:
        require_committed(rig.package(), bytes(32))
    assert caught.value.rule_id == "GR-22"
    require_committed(rig.package(), rig.PACKAGE_PLAN.content_key)


def test_when_signing_fails_nothing_is_left(tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("the token is gone")

    with pytest.raises(RuntimeError):
        rig.make(tmp_path, 5, signer=fails)
    assert [path.name for path in tmp_path.iterdir()] == ["grants.srg.csv"]


def test_two_batches_share_no_mask(tmp_path: Path) -> None:
    """A fresh pair a batch: the same device, key and package, and another wrapped key."""
    order = GrantOrder(rig.package(), rig.BATCH_ID, rig.SIGNER.key_id)
    listed = rig.write_list(tmp_path / "list.csv", rig.devices(3))
    from signer.grants.devices import device_list

    other = tmp_path / "other.srg"
    with NewFile(other) as file, device_list(listed, tmp_path) as found:
        with EphemeralScalar(lambda size: sha256(b"other")[:1] * size) as ephemeral:
            make_grants(order, ephemeral, rig.PACKAGE_PLAN.content_key, found, file, rig.sign, 1)
        file.publish()
    first = rig.make(tmp_path, 3)
    with GrantFile(first) as one, GrantFile(other) as two:
        wrapped = {file.leaf(index)[24:] for file in (one, two) for index in range(3)}
    assert len(wrapped) == 6


def test_the_ephemeral_scalar_is_overwritten_and_secrets_show_nowhere() -> None:
    with EphemeralScalar(rig.random) as ephemeral:
        value = bytes(ephemeral.value)
        assert value == rig.ephemeral_by_hand().private
        assert ephemeral.public_key.point == rig.ephemeral_by_hand().public
        recipe = Recipe(value, ephemeral.public_key.point, b"fake content key", bytes(16), bytes(32))
        assert value.hex() not in repr(recipe)
        assert str(value) not in repr(recipe)
        assert "fake content key" not in repr(recipe)
    assert ephemeral.value == bytes(32)


@pytest.mark.parametrize("broken", [bytes(48), b"short"])
def test_a_generator_that_is_visibly_broken_is_refused(broken: bytes) -> None:
    from pki.errors import InputRefused

    with pytest.raises(InputRefused, match="random generator"):
        EphemeralScalar(lambda _: broken)


def test_the_layout_of_large_trees_is_what_the_sizes_say() -> None:
    layout = GrantFileLayout(1_000_000)
    assert layout.levels[:3] == (1_000_000, 500_000, 250_000)
    assert layout.levels[-1] == 2
    assert layout.size_bytes == 256 + 56 * 1_000_000 + 32 * sum(layout.levels) + 32
    assert len(GrantFileLayout(1 << 31).levels) == 31
