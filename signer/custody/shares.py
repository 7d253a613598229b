"""Shares of a key-encryption key: SLIP-39, one share for each custodian (docs/spec/key-backup.md, "Shares").

Shares are secrets. They go to people and come from people through the two protocols here and nowhere else; nothing in
this room puts one into an error, a representation or a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from signer.custody.rules import violation

if TYPE_CHECKING:
    from shamir_mnemonic.share import Share

SECRET_SIZE_BYTES = 32
WORDS_PER_SHARE = 33
IDENTIFIER_MAX = 0x7FFF
GROUPS_MAX = 4
CUSTODIANS_PER_GROUP_MAX = 16

_SHARE_CHARACTERS_MAX = 512
_CUSTODIAN_LENGTH_MAX = 128
_EXTENDABLE = True
_ITERATION_EXPONENT = 0
_NO_PASSPHRASE = b""


@dataclass(frozen=True, slots=True)
class ShareGroup:
    """Custodians of whom `needed` together hold the group's part. Raises PolicyViolation KB-03."""

    needed: int
    custodians: tuple[str, ...]

    def __post_init__(self) -> None:
        _require_group(self.needed, len(self.custodians))
        for name in self.custodians:
            if not (0 < len(name) <= _CUSTODIAN_LENGTH_MAX and name.isprintable() and name == name.strip()):
                raise violation("KB-03", "a custodian's name is one line of 1 to 128 printable characters")


@dataclass(frozen=True, slots=True)
class ShareScheme:
    """Who gets a share, and how many groups are needed together. Raises PolicyViolation KB-03."""

    groups: tuple[ShareGroup, ...]
    groups_needed: int = 1

    def __post_init__(self) -> None:
        _require_layout(self.groups_needed, self.layout)
        names = [name for group in self.groups for name in group.custodians]
        if len(set(names)) != len(names):
            raise violation("KB-03", "a person is named twice among the custodians; each holds one share")

    @classmethod
    def of(cls, needed: int, custodians: Sequence[str]) -> ShareScheme:
        """One group: `needed` of the custodians."""
        return cls((ShareGroup(needed, tuple(custodians)),))

    @property
    def layout(self) -> tuple[tuple[int, int], ...]:
        """Needed and existing shares of each group."""
        return tuple((group.needed, len(group.custodians)) for group in self.groups)


@dataclass(frozen=True, slots=True)
class ShareSet:
    """What is public about one split: the identifier that begins every share of it, and its layout."""

    identifier: int
    groups_needed: int
    groups: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.identifier <= IDENTIFIER_MAX:
            raise violation("KB-03", f"the identifier of a share set is 0 to {IDENTIFIER_MAX}")
        _require_layout(self.groups_needed, self.groups)


def _require_group(needed: int, count: int) -> None:
    one_of_one = (needed, count) == (1, 1)
    if not (one_of_one or 2 <= needed <= count <= CUSTODIANS_PER_GROUP_MAX):
        raise violation(
            "KB-03",
            f"{needed} of {count} custodians: at least 2 are needed, of at most {CUSTODIANS_PER_GROUP_MAX}, or 1 of 1",
        )


def _require_layout(groups_needed: int, groups: Sequence[tuple[int, int]]) -> None:
    for needed, count in groups:
        _require_group(needed, count)
    if not 1 <= groups_needed <= len(groups) <= GROUPS_MAX:
        raise violation("KB-03", f"{groups_needed} of {len(groups)} groups: there are 1 to {GROUPS_MAX}")
    if groups_needed == 1 and any(needed == 1 for needed, _ in groups):
        raise violation("KB-03", "one person alone could recombine the key; let at least two be needed")


@dataclass(frozen=True, slots=True)
class CustodianShare:
    """The share of one custodian: 33 words, for nobody else's eyes."""

    custodian: str
    words: tuple[str, ...] = field(repr=False)


class ShareSink(Protocol):
    """How shares reach people. Each call concerns one custodian, who is alone before the screen."""

    def hand_out(self, share: CustodianShare) -> None:
        """Show the words to the custodian until they are written down; then make them disappear."""

    def read_back(self, custodian: str, positions: tuple[int, ...]) -> Sequence[str]:
        """The words that the custodian types from paper, at these positions, counted from 1."""


@dataclass(frozen=True, slots=True)
class SharesWanted:
    """When another share is asked for: the set's identifier; for each group how many there are, and are needed."""

    identifier: int
    collected: tuple[tuple[int, int], ...]


class ShareSource(Protocol):
    """How shares come back from people."""

    def next_share(self, wanted: SharesWanted) -> str:
        """The words of another custodian's share, typed unseen, separated by spaces."""

    def refused(self, reason: str) -> None:
        """Say that the last share was not taken, and why; it is asked for again."""


class ShareRefused(Exception):
    """A share cannot be taken; the text says why, and holds nothing of it."""


def split(secret: bytes, scheme: ShareScheme) -> tuple[ShareSet, tuple[CustodianShare, ...]]:
    """Split 32 bytes for the custodians of a scheme, in their order. The randomness is that of the operating system."""
    from shamir_mnemonic import generate_mnemonics
    from shamir_mnemonic.share import Share

    if len(secret) != SECRET_SIZE_BYTES:
        raise ValueError(f"the secret has {SECRET_SIZE_BYTES} bytes")
    mnemonics = generate_mnemonics(
        scheme.groups_needed, scheme.layout, secret, _NO_PASSPHRASE, _EXTENDABLE, _ITERATION_EXPONENT
    )
    shares = tuple(
        CustodianShare(custodian, tuple(mnemonic.split()))
        for group, of_group in zip(scheme.groups, mnemonics, strict=True)
        for custodian, mnemonic in zip(group.custodians, of_group, strict=True)
    )
    identifier = Share.from_mnemonic(mnemonics[0][0]).identifier
    return ShareSet(identifier, scheme.groups_needed, scheme.layout), shares


class ShareCollector:
    """Takes shares of one set until there are enough, in whatever order."""

    def __init__(self, expected: ShareSet) -> None:
        self._expected = expected
        self._groups: list[dict[int, Share]] = [{} for _ in expected.groups]

    @property
    def wanted(self) -> SharesWanted:
        """How far it is."""
        collected = tuple((len(have), needed) for have, (needed, _) in self._with_layout())
        return SharesWanted(self._expected.identifier, collected)

    @property
    def complete(self) -> bool:
        """Whether there are enough."""
        return len(self._full_groups()) >= self._expected.groups_needed

    def add(self, text: str) -> None:
        """Take a share; raises ShareRefused for one that is misspelt, of another set, given already, or not needed."""
        share = _parse(text)
        self._require_same_set(share)
        have = self._groups[share.group_index]
        if share.index in have:
            raise ShareRefused("this share was given already; another custodian's is needed")
        if len(have) >= self._expected.groups[share.group_index][0]:
            raise ShareRefused(f"group {share.group_index + 1} is complete; a share of another group is needed")
        have[share.index] = share

    def combine(self) -> bytes:
        """The secret, 32 bytes; raises PolicyViolation KB-05 unless there are enough shares and they fit together."""
        from shamir_mnemonic.shamir import ShareGroup as CollectedGroup
        from shamir_mnemonic.shamir import recover_ems
        from shamir_mnemonic.utils import MnemonicError

        if not self.complete:
            raise violation("KB-05", "there are too few shares")
        groups = {}
        for index in self._full_groups()[: self._expected.groups_needed]:
            groups[index] = CollectedGroup()
            groups[index].shares = set(self._groups[index].values())
        try:
            return bytes(recover_ems(groups).decrypt(_NO_PASSPHRASE))
        except MnemonicError:
            raise violation("KB-05", "the shares do not fit together: one of them was changed; begin again") from None

    def _full_groups(self) -> list[int]:
        return [index for index, (have, (needed, _)) in enumerate(self._with_layout()) if len(have) == needed]

    def _with_layout(self) -> list[tuple[dict[int, Share], tuple[int, int]]]:
        return list(zip(self._groups, self._expected.groups, strict=True))

    def _require_same_set(self, share: Share) -> None:
        expected = self._expected
        same_set = (
            share.identifier == expected.identifier
            and share.extendable is _EXTENDABLE
            and share.iteration_exponent == _ITERATION_EXPONENT
            and (share.group_threshold, share.group_count) == (expected.groups_needed, len(expected.groups))
            and share.group_index < len(expected.groups)
            and len(share.value) == SECRET_SIZE_BYTES
        )
        if same_set:
            needed, count = expected.groups[share.group_index]
            same_set = share.member_threshold == needed and share.index < count
        if not same_set:
            raise ShareRefused("this share belongs to another set; take the one that was handed out for this key")


def _parse(text: str) -> Share:
    """A share whose words are in the list and whose checksum is right."""
    from shamir_mnemonic.share import Share
    from shamir_mnemonic.utils import MnemonicError

    words = text.lower().split() if len(text) <= _SHARE_CHARACTERS_MAX else []
    if len(words) != WORDS_PER_SHARE:
        raise ShareRefused(f"a share has {WORDS_PER_SHARE} words; check that none is missing or doubled")
    try:
        return Share.from_mnemonic(" ".join(words))
    except (MnemonicError, ValueError, IndexError):
        # The library's text names the word.
        raise ShareRefused("a word is misspelt, or two are exchanged: the checksum is wrong; read it again") from None
