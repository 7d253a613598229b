"""The key-encryption key: drawn, split, handed out, read back, recombined, checked, and gone."""

from __future__ import annotations

import subprocess
from itertools import combinations

import pytest
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.serialization import load_der_private_key

from pki.errors import ConfigurationError, PolicyViolation
from signer.custody.kek import READ_BACK_ATTEMPTS, SHARES_REFUSED_MAX, combine_kek, key_check_value, split_kek
from signer.custody.shares import CustodianShare, ShareScheme
from signer.tokens.errors import TokenLost
from tests.softhsm.test_custody import der_in
from tests.unit.custody import slip39
from tests.unit.custody.places import CUSTODIANS, TWO_OF_THREE, Custodians, Place, shows_words


def value_of(custodians: Custodians) -> bytes:
    """What two of the papers make, by another implementation."""
    return slip39.combine([" ".join(custodians.papers[name]) for name in CUSTODIANS[:2]], b"")


def test_the_check_value_is_that_of_x9_24() -> None:
    """CMAC by OpenSSL; and the published KCV-style vector: AES-128-CMAC of one block under the key of SP 800-38B."""
    for value in (bytes(range(32)), b"\xff" * 32):
        command = ["openssl", "mac", "-cipher", "AES-256-CBC", "-macopt", f"hexkey:{value.hex()}", "-in", "-", "CMAC"]
        made = subprocess.run(command, input=bytes(16), capture_output=True, check=True).stdout
        assert key_check_value(value).hex() == made.decode().strip().lower()[:10]


def test_every_custodian_gets_one_share_and_the_papers_make_the_key(place: Place) -> None:
    with place.split(place.home, place.spare) as kek:
        assert set(place.custodians.papers) == set(CUSTODIANS)
        assert all(len(words) == 33 for words in place.custodians.papers.values())
        assert [name for name, _ in place.custodians.asked] == list(CUSTODIANS)
        assert {positions for _, positions in place.custodians.asked} == {tuple(range(1, 34))}
        assert key_check_value(value_of(place.custodians)) == kek.identity.kcv
        assert kek.identity.shares.groups == ((2, 3),)


def test_every_quorum_recombines_the_same_kek(place: Place) -> None:
    with place.split() as kek:
        identity = kek.identity
    for quorum in combinations(CUSTODIANS, 2):
        with combine_kek([place.spare], identity, place.custodians.bring(*quorum)) as again:
            assert again.identity == identity
    assert place.custodians.heard == []


def test_two_keks_differ(place: Place) -> None:
    with place.split() as first, place.split() as second:
        assert first.identity.kcv != second.identity.kcv


def test_some_words_are_read_back_at_positions_that_differ(place: Place) -> None:
    for _ in range(3):
        split_kek([place.home], TWO_OF_THREE, place.custodians, words_read_back=4).close()
    positions = [asked for _, asked in place.custodians.asked]
    assert all(len(set(asked)) == 4 and asked == tuple(sorted(asked)) for asked in positions)
    assert all(1 <= position <= 33 for asked in positions for position in asked)
    assert len(set(positions)) > 1


class Misreading(Custodians):
    """Bob reads a word wrongly so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.shown: list[str] = []

    def hand_out(self, share: CustodianShare) -> None:
        self.shown.append(share.custodian)
        super().hand_out(share)

    def read_back(self, custodian: str, positions: tuple[int, ...]) -> list[str]:
        words = list(super().read_back(custodian, positions))
        if custodian == "bob" and self.times:
            self.times -= 1
            words[0], words[5] = words[5], words[0] + "x"
        return words


def test_who_misreads_sees_the_share_again(place: Place) -> None:
    reading = Misreading(READ_BACK_ATTEMPTS - 1)
    with split_kek([place.home], TWO_OF_THREE, reading):
        assert reading.shown == ["ann", "bob", "bob", "bob", "cleo"]


def test_kb_04_who_misreads_three_times_voids_the_set(place: Place) -> None:
    reading = Misreading(READ_BACK_ATTEMPTS)
    with pytest.raises(PolicyViolation, match=r"KB-04.*bob.*void") as violation:
        split_kek([place.home], TWO_OF_THREE, reading)
    assert not shows_words(str(violation.value), reading.papers["bob"])
    assert "cleo" not in reading.shown


def test_capitals_and_spacing_do_not_matter_when_reading_back(place: Place) -> None:
    class Loud(Custodians):
        def read_back(self, custodian: str, positions: tuple[int, ...]) -> list[str]:
            return ["  ".join(super().read_back(custodian, positions)).upper() + " "]

    split_kek([place.home], TWO_OF_THREE, Loud()).close()


def test_kb_05_wrong_shares_are_asked_for_again_and_not_for_ever(place: Place) -> None:
    with place.split() as kek:
        identity = kek.identity
    people = place.custodians.bring("ann", "nonsense", "ann", "cleo")
    combine_kek([place.spare], identity, people).close()
    assert ["33 words" in people.heard[0], "already" in people.heard[1]] == [True, True]
    people = Custodians(place.custodians.papers).bring("ann", *["nonsense"] * SHARES_REFUSED_MAX)
    with pytest.raises(PolicyViolation, match="KB-05"):
        combine_kek([place.spare], identity, people)
    assert len(people.heard) == SHARES_REFUSED_MAX


def test_kb_06_another_kek_of_the_same_set_number_is_refused(place: Place) -> None:
    """Shares that fit together, of a set whose identifier happens to be the same: the check value tells."""
    with place.split() as kek, place.split() as other:
        wanted = type(kek.identity)(kek.identity.kcv, other.identity.shares)
    before = place.labels_on(place.spare)
    with pytest.raises(PolicyViolation, match="KB-06"):
        combine_kek([place.spare], wanted, place.custodians.bring("ann", "bob"))
    assert place.labels_on(place.spare) == before


def test_a_kek_works_where_it_was_brought_and_until_it_is_closed(place: Place) -> None:
    kek = place.split()
    with pytest.raises(ConfigurationError, match="not in token 'spare'"):
        kek.in_token_of(place.spare)
    wrapping_key = kek.in_token_of(place.home)
    assert len(kek.mac(b"content")) == 32
    kek.close()
    kek.close()
    with pytest.raises(ConfigurationError, match="closed"):
        kek.mac(b"content")
    with pytest.raises(TokenLost):
        wrapping_key._current()


def test_what_the_kek_wraps_is_wrapped_under_what_the_custodians_have(place: Place) -> None:
    made = place.generate(place.plan(copy=False))
    backup = place.backup()
    unwrapped = keywrap.aes_key_unwrap(value_of(place.custodians), backup.wrapped.data)
    key = load_der_private_key(der_in(unwrapped), None)
    assert made.record.public_key is not None
    assert key.public_key().public_numbers().x == int.from_bytes(made.record.public_key.point[:32], "big")  # type: ignore[union-attr]


def test_nothing_secret_is_shown(place: Place) -> None:
    with place.split() as kek:
        value = value_of(place.custodians)
        for shown in (repr(kek), str(kek), repr(kek.identity), repr(kek.in_token_of(place.home))):
            assert value.hex() not in shown
            assert not shows_words(shown, place.custodians.papers["ann"])


@pytest.mark.parametrize("words", [0, 34])
def test_mistakes_of_the_caller(place: Place, words: int) -> None:
    with pytest.raises(ValueError, match="words to read back"):
        split_kek([place.home], TWO_OF_THREE, place.custodians, words_read_back=words)
    with pytest.raises(ValueError, match="at least one session"):
        split_kek([], ShareScheme.of(2, CUSTODIANS), place.custodians)
