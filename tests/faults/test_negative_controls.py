"""The campaign finds what it is there to find: each bootloader with one defect is caught, the real one is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import campaign, variants
from tests.faults.witness import Violation

CONTROLS = {
    "head programmed first": (variants.installing_as(variants.HeadFirst), "application update", "a head in"),
    "bootloader's head first": (variants.installing_as(variants.HeadFirst), "bootloader update A to B", "a head in"),
    "record before the image": (variants.installing_as(variants.RecordFirst), "application update", "not the recorded"),
    "record before the head": (
        variants.installing_as(variants.RecordBeforeHead),
        "bootloader update A to B",
        "not the recorded one",
    ),
    "blank taken for erased": (variants.installing_as(variants.EagerRegion), "first install", "not erased in this"),
    "last record not written anew": (variants.nothing_settled, "application confirmation", "otherwise"),
    "no fence": (variants.no_fence, "application confirmation", "torn unit"),
    "attempts ignored": (variants.attempts_ignored, "bootloader trial without a link", "without a link"),
    "compaction writes the header first": (variants.compaction_header_first, "journal compaction", "header before"),
    "compaction hands over first": (
        variants.compaction_hands_over_first,
        "journal compaction",
        "says nothing|no bootloader|head",
    ),
    "the old trust bundle erased first": (variants.succession_in_place, "trust bundle succession", "says nothing"),
    "a succession hands over first": (
        variants.compaction_hands_over_first,
        "trust bundle succession",
        "says nothing|no bootloader|head|no trust bundle",
    ),
    "floor raised by installation": (variants.floors_raised_by_installation, "application update", "floor"),
}


@pytest.fixture(autouse=True)
def scenarios_prepared_anew() -> Iterator[None]:
    """A prepared scenario holds the log of the bootloader that ran it."""
    campaign.prepare.cache_clear()
    yield
    campaign.prepare.cache_clear()


@pytest.mark.parametrize("name", CONTROLS)
def test_a_bootloader_with_one_defect_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variant, scenario, what = CONTROLS[name]
    variant(monkeypatch)
    with pytest.raises(Violation, match=what):
        campaign.try_everything(scenario)


@pytest.mark.parametrize("scenario", sorted({scenario for _, scenario, _ in CONTROLS.values()}))
def test_the_real_one_passes_where_they_fail(scenario: str) -> None:
    assert sum(campaign.sample_of(scenario, 12).values()) >= 12
