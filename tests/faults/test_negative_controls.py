"""The campaign finds what it is there to find: each bootloader with one defect is caught, the real one is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import campaign, life_variants, variants
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
    "DEVICE before ACTIVATED": (life_variants.device_before_activated, "activation", "without an activation"),
    "the group key after DEVICE": (
        life_variants.group_key_after_device,
        "activation with injected keys and a compaction",
        "group key is not as",
    ),
    "DEVICE before the keys are gone": (
        life_variants.device_before_the_keys_are_gone,
        "return for repair",
        "a record that was to be destroyed|a secret stands",
    ),
    "DEVICE before the application is gone": (
        life_variants.device_before_the_application_is_gone,
        "return for repair",
        "was not erased|a secret stands",
    ),
    "the half with the keys left": (life_variants.half_with_the_keys_left, "return for repair", "a secret stands"),
    "a destruction that is not resumed": (
        life_variants.destruction_not_resumed,
        "return for repair",
        "did not carry the service order out",
    ),
    "DEVICE in the snapshot of a re-provisioning": (
        life_variants.first_half_with_its_device,
        "re-provisioning without a state",
        "contradicts|says nothing|otherwise each time",
    ),
    "floor raised by installation": (variants.floors_raised_by_installation, "application update", "floor"),
}

# What these do wrong shows at the end of their scenarios only, and those are long.
AT_THE_END = {
    "the group key after DEVICE": 40,
    "DEVICE before the application is gone": 40,
    "DEVICE in the snapshot of a re-provisioning": 8,
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
        campaign.try_everything(scenario, last=AT_THE_END.get(name))


@pytest.mark.parametrize("scenario", sorted({scenario for _, scenario, _ in CONTROLS.values()}))
def test_the_real_one_passes_where_they_fail(scenario: str) -> None:
    assert sum(campaign.sample_of(scenario, 12).values()) >= 12
