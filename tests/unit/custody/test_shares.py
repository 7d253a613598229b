"""SLIP-39 shares: every quorum recovers the key, no smaller set does, and no wrong share is taken."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from itertools import combinations, permutations, product

import pytest
from shamir_mnemonic import combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share
from shamir_mnemonic.wordlist import WORDLIST

from pki.errors import PolicyViolation
from signer.custody.shares import (
    CustodianShare,
    ShareCollector,
    ShareGroup,
    ShareRefused,
    ShareScheme,
    ShareSet,
    split,
)
from tests.unit.custody import slip39

SECRET = bytes(range(100, 132))


def names(count: int, prefix: str = "c") -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(count))


def text_of(share: CustodianShare) -> str:
    return " ".join(share.words)


def collected(expected: ShareSet, shares: list[CustodianShare]) -> ShareCollector:
    collector = ShareCollector(expected)
    for share in shares:
        collector.add(text_of(share))
    return collector


@pytest.mark.parametrize(("needed", "count"), [(2, 2), (2, 3), (3, 5), (4, 7)])
def test_every_quorum_recovers_the_key_and_one_less_does_not(needed: int, count: int) -> None:
    """All subsets."""
    share_set, shares = split(SECRET, ShareScheme.of(needed, names(count)))
    assert (share_set.groups_needed, share_set.groups) == (1, ((needed, count),))
    for quorum in combinations(shares, needed):
        assert collected(share_set, list(quorum)).combine() == SECRET
    for size in range(needed):
        for too_few in combinations(shares, size):
            collector = collected(share_set, list(too_few))
            assert not collector.complete
            with pytest.raises(PolicyViolation, match="KB-05"):
                collector.combine()


def test_the_order_in_which_custodians_come_does_not_matter() -> None:
    share_set, shares = split(SECRET, ShareScheme.of(3, names(4)))
    for order in permutations(shares, 3):
        assert collected(share_set, list(order)).combine() == SECRET


def test_groups_are_needed_together() -> None:
    """Two of three from quality and two of two from security: no other set of people has the key."""
    quality, security = ShareGroup(2, names(3, "q")), ShareGroup(2, names(2, "s"))
    share_set, shares = split(SECRET, ShareScheme((quality, security), groups_needed=2))
    for count in range(len(shares) + 1):
        for subset in combinations(shares, count):
            who = {share.custodian for share in subset}
            enough = len(who & set(quality.custodians)) >= 2 and len(who & set(security.custodians)) >= 2
            collector = ShareCollector(share_set)
            for share in subset:
                with suppress(ShareRefused):  # of a group that is complete
                    collector.add(text_of(share))
            assert collector.complete is enough
            if enough:
                assert collector.combine() == SECRET


def test_stock_software_recombines_our_shares_and_we_those_of_stock_software() -> None:
    share_set, shares = split(SECRET, ShareScheme.of(2, names(3)))
    assert combine_mnemonics([text_of(share) for share in shares[1:]]) == SECRET
    (mnemonics,) = generate_mnemonics(1, [(2, 3)], SECRET, iteration_exponent=0)
    collector = ShareCollector(ShareSet(Share.from_mnemonic(mnemonics[0]).identifier, 1, ((2, 3),)))
    for mnemonic in mnemonics[:2]:
        collector.add(mnemonic.upper().replace(" ", "\n  "))
    assert collector.combine() == SECRET
    assert share_set.identifier == Share.from_mnemonic(text_of(shares[0])).identifier


def test_shares_mean_what_the_standard_says() -> None:
    """A second implementation, written from SLIP-39 alone, recombines every quorum."""
    vector = (
        "duckling enlarge academic academic agency result length solution fridge kidney coal piece deal husband erode "
        "duke ajar critical decision keyboard"
    )
    assert slip39.combine([vector], b"TREZOR").hex() == "bb54aac4b89dc868ba37d9cc21b2cece"
    for scheme in (
        ShareScheme.of(2, names(3)),
        ShareScheme.of(3, names(5)),
        ShareScheme((ShareGroup(2, names(3, "q")), ShareGroup(2, names(2, "s"))), 2),
    ):
        _, shares = split(SECRET, scheme)
        by_name = {share.custodian: text_of(share) for share in shares}
        for choice in product(*(combinations(group.custodians, group.needed) for group in scheme.groups)):
            assert slip39.combine([by_name[name] for quorum in choice for name in quorum], b"") == SECRET


def test_every_changed_word_is_noticed() -> None:
    """RS1024 finds up to three wrong words (SLIP-39, "Checksum"): each position once, some pairs exchanged."""
    share_set, shares = split(SECRET, ShareScheme.of(2, names(2)))
    words = list(shares[0].words)
    for position, word in enumerate(words):
        changed = list(words)
        changed[position] = WORDLIST[(WORDLIST.index(word) + 1) % len(WORDLIST)]
        with pytest.raises(ShareRefused):
            ShareCollector(share_set).add(" ".join(changed))
    for position in range(len(words) - 1):
        swapped = list(words)
        swapped[position : position + 2] = swapped[position + 1], swapped[position]
        if swapped != words:
            with pytest.raises(ShareRefused):
                ShareCollector(share_set).add(" ".join(swapped))


@pytest.mark.parametrize(
    "text", ["", "word " * 33, "academic " * 33, "academic " * 32, "academic " * 34, "a" * 100_000]
)
def test_what_is_no_share_is_not_taken(text: str) -> None:
    with pytest.raises(ShareRefused):
        ShareCollector(ShareSet(0, 1, ((2, 3),))).add(text)


def test_shares_of_another_set_are_not_taken() -> None:
    scheme = ShareScheme.of(2, names(3))
    share_set, shares = split(SECRET, scheme)
    other_set, others = split(SECRET, scheme)
    while other_set.identifier == share_set.identifier:
        other_set, others = split(SECRET, scheme)
    collector = collected(share_set, [shares[0]])
    for other in others:
        with pytest.raises(ShareRefused, match="another set"):
            collector.add(text_of(other))
    collector.add(text_of(shares[2]))
    assert collector.combine() == SECRET


def test_shares_of_another_layout_under_the_same_identifier_are_not_taken() -> None:
    share_set, shares = split(SECRET, ShareScheme.of(2, names(3)))
    for layout in ((1, ((3, 3),)), (1, ((2, 2),)), (1, ((2, 3), (2, 3))), (2, ((2, 3), (2, 3)))):
        collector = ShareCollector(ShareSet(share_set.identifier, *layout))
        with pytest.raises(ShareRefused, match="another set"):
            collector.add(text_of(shares[2]))


def test_a_share_with_a_passphrase_or_of_another_kind_is_not_taken() -> None:
    """Iterations and the extendable flag are ours; a passphrase cannot be seen, and the check value finds it."""
    for options in ({"iteration_exponent": 1}, {"extendable": False, "iteration_exponent": 0}):
        (mnemonics,) = generate_mnemonics(1, [(2, 3)], SECRET, **options)
        identifier = Share.from_mnemonic(mnemonics[0]).identifier
        with pytest.raises(ShareRefused, match="another set"):
            ShareCollector(ShareSet(identifier, 1, ((2, 3),))).add(mnemonics[0])


def test_a_share_counts_once() -> None:
    share_set, shares = split(SECRET, ShareScheme.of(2, names(3)))
    collector = collected(share_set, [shares[0]])
    with pytest.raises(ShareRefused, match="given already"):
        collector.add(text_of(shares[0]))
    assert not collector.complete
    assert collector.wanted.collected == ((1, 2),)


def test_a_forged_share_with_a_right_checksum_is_found_by_the_digest() -> None:
    share_set, shares = split(SECRET, ShareScheme.of(2, names(3)))
    true = Share.from_mnemonic(text_of(shares[1]))
    for bit in range(0, 256, 37):
        value = (int.from_bytes(true.value, "big") ^ (1 << bit)).to_bytes(32, "big")
        forged = Share(*_fields(true), value).mnemonic()
        collector = collected(share_set, [shares[0]])
        collector.add(forged)
        with pytest.raises(PolicyViolation, match=r"KB-05.*changed"):
            collector.combine()


def _fields(share: Share) -> tuple[object, ...]:
    return (
        share.identifier,
        share.extendable,
        share.iteration_exponent,
        share.group_index,
        share.group_threshold,
        share.group_count,
        share.index,
        share.member_threshold,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: ShareScheme.of(1, names(2)),
        lambda: ShareScheme.of(1, names(1)),
        lambda: ShareScheme.of(3, names(2)),
        lambda: ShareScheme.of(2, names(17)),
        lambda: ShareScheme.of(0, ()),
        lambda: ShareScheme.of(2, ("ann", "ann")),
        lambda: ShareScheme.of(2, ("ann", "")),
        lambda: ShareScheme.of(2, ("ann", "b\nob")),
        lambda: ShareScheme((), 1),
        lambda: ShareScheme((ShareGroup(2, names(2)),), 2),
        lambda: ShareScheme((ShareGroup(2, names(2)),), 0),
        lambda: ShareScheme(tuple(ShareGroup(2, names(2, str(number))) for number in range(5)), 2),
        lambda: ShareScheme((ShareGroup(1, ("ann",)), ShareGroup(2, names(2))), 1),
        lambda: ShareScheme((ShareGroup(2, ("ann", "bob")), ShareGroup(2, ("bob", "cleo"))), 2),
        lambda: ShareSet(-1, 1, ((2, 3),)),
        lambda: ShareSet(32_768, 1, ((2, 3),)),
    ],
)
def test_kb_03_a_scheme_outside_the_bounds_is_refused(make: object) -> None:
    with pytest.raises(PolicyViolation) as violation:
        make()  # type: ignore[operator]
    assert violation.value.rule_id == "KB-03"


def test_one_of_one_is_a_group_of_its_own_beside_others() -> None:
    scheme = ShareScheme((ShareGroup(1, ("notary",)), ShareGroup(2, names(3))), 2)
    share_set, shares = split(SECRET, scheme)
    assert collected(share_set, [shares[0], shares[2], shares[1]]).combine() == SECRET


def test_no_share_is_in_a_representation_or_an_error() -> None:
    share_set, shares = split(SECRET, ShareScheme.of(2, names(3)))
    secret_words = set(shares[0].words[4:])
    assert not secret_words & set(repr(shares[0]).replace("'", " ").split())
    changed = " ".join((*shares[0].words[:-1], "zzzz"))
    collector = ShareCollector(share_set)
    try:
        collector.add(changed)
    except ShareRefused as refusal:
        shown = "".join(traceback.format_exception(refusal))
    assert not secret_words & set(json.dumps(shown).replace("'", " ").split())


def test_only_a_key_is_split() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        split(SECRET[:16], ShareScheme.of(2, names(3)))
