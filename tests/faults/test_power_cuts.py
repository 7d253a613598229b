"""A sample of the campaign, the same every time; `make campaign` runs it whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bootloader.simulation.sim_flash import Tear
from tests.faults import campaign, scenarios
from tests.faults.campaign import ALL_SCENARIOS
from tests.faults.life_scenarios import LifeScenario
from tests.faults.recovery import Outcome

# The first start after the cut may end so, over the whole scenario, and every one of these does occur.
EXPECTED = {
    "first install": {Outcome.WAITS, Outcome.NEW},
    "application update": {Outcome.OLD, Outcome.WAITS, Outcome.NEW},
    "bootloader update A to B": {Outcome.OLD, Outcome.NEW},
    "bootloader update B to A": {Outcome.OLD, Outcome.NEW},
    "bootloader trial without a link": {Outcome.OLD, Outcome.NEW},
    "journal compaction": {Outcome.SAME},
    "journal compaction back": {Outcome.SAME},
    "compaction within an installation": {Outcome.OLD, Outcome.WAITS, Outcome.NEW},
    "grant": {Outcome.OLD},
    "installation by grant": {Outcome.OLD, Outcome.WAITS, Outcome.NEW},
    "trust bundle succession": {Outcome.OLD, Outcome.NEW},
    "trust bundle chain of two": {Outcome.OLD, Outcome.NEW},
    "trust bundle to a copy on trial": {Outcome.OLD, Outcome.NEW},
    "keys made at a challenge": {Outcome.LOCKED},
    "activation": {Outcome.LOCKED, Outcome.OPERATIONAL},
    "activation with injected keys and a compaction": {Outcome.LOCKED, Outcome.OPERATIONAL},
    "activation after a factory test": {Outcome.LOCKED, Outcome.OPERATIONAL},
    "return for repair": {Outcome.OPERATIONAL, Outcome.RMA},
    "return for repair to a copy on trial": {Outcome.OPERATIONAL, Outcome.RMA},
    "decommissioning of a locked device": {Outcome.LOCKED, Outcome.DECOMMISSIONED},
    "re-provisioning after repair": {Outcome.RMA, Outcome.LOCKED},
    "re-provisioning without a state": {Outcome.NO_STATE, Outcome.LOCKED},
}


def name_of(scenario: campaign.AnyScenario) -> str:
    return scenario.name


@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=name_of)
def test_cut_once_it_recovers(scenario: campaign.AnyScenario) -> None:
    outcomes = campaign.sample_of(scenario.name, 36 if isinstance(scenario, LifeScenario) else 90)
    assert set(outcomes) == EXPECTED.get(scenario.name, {Outcome.NEW})


@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=name_of)
def test_cut_twice_it_recovers(scenario: campaign.AnyScenario) -> None:
    outcomes: list[Outcome] = []
    step = 24 if isinstance(scenario, LifeScenario) else 12
    for at in range(0, len(campaign.first_cut_sample(scenario.name)), step):
        outcomes += campaign.second_cuts(scenario.name, at, at + 1)
    assert len(outcomes) >= campaign.SECOND_CUTS


def test_once_the_first_link_of_a_chain_is_taken_the_oldest_bundle_never_comes_back() -> None:
    """Cut anywhere in the second link: what stands in the half before is the first link's, not the genesis."""
    scenario = scenarios.scenario_named("trust bundle chain of two")
    first = replace(scenario, act=scenarios.follow_without_a_start(scenario.goal.bundles[0]))
    begins = len(campaign.log_of(first.start(), first))
    total = len(campaign.prepare(scenario.name).operations)
    for number in (begins, begins + 1, (begins + total) // 2, total - 1):
        assert set(campaign.single_cuts(scenario.name, number, number + 1)) == {Outcome.NEW}


def test_every_tear_is_made_at_every_operation() -> None:
    """`VARIANTS` leaves out AFTER, which is BEFORE the next; the last operation has it."""
    assert {tear for tear, _ in campaign.VARIANTS} == set(Tear) - {Tear.AFTER}
    prepared = campaign.prepare("application trial start")
    numbers = range(len(prepared.operations))
    flash = prepared.device.flash
    cuts = list(campaign.each_cut(flash, prepared.before, prepared.operations, numbers, campaign.variants_of(prepared)))
    assert len(cuts) == len(numbers) * len(campaign.VARIANTS) + 1
    assert cuts[-1].tear is Tear.AFTER


def test_the_shards_are_the_whole_campaign() -> None:
    for scenario in ALL_SCENARIOS:
        total = len(campaign.prepare(scenario.name).operations)
        shards = [shard for shard in campaign.shards() if shard.scenario == scenario.name and not shard.second]
        covered = [number for shard in shards for number in range(shard.first, min(shard.last, total))]
        assert covered == list(range(total))


def test_an_operation_cut_before_it_begins_leaves_what_the_one_before_left() -> None:
    prepared = campaign.prepare("application confirmation")
    flash, operations = prepared.device.flash, prepared.operations

    def left_by(number: int, tear: Tear) -> list[bytes]:
        variants: Callable[[int], list[campaign.Variant]] = lambda _: [(tear, 0)]  # noqa: E731
        for _ in campaign.each_cut(flash, prepared.before, operations, [number], variants):
            return [bytes(sector.content + sector.flags) for sector in flash.snapshot().sectors]
        raise AssertionError("no cut was made")

    assert left_by(4, Tear.AFTER) == left_by(5, Tear.BEFORE)
    assert left_by(4, Tear.AFTER) != left_by(4, Tear.BEFORE)


def test_the_bench_gets_a_rate_and_a_count() -> None:
    assert campaign.run_sample(0.2) > 0
    operations = sum(len(campaign.prepare(scenario.name).operations) for scenario in ALL_SCENARIOS)
    seconds = sum(len(campaign.first_cut_sample(scenario.name)) for scenario in ALL_SCENARIOS) * campaign.SECOND_CUTS
    assert campaign.count_campaign() == operations * len(campaign.VARIANTS) + len(ALL_SCENARIOS) + seconds
