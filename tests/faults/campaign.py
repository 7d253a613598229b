"""The power-cut campaign: every scenario, cut at every flash operation, in every way; then cut again in the recovery.

    python -m tests.faults.campaign           the whole campaign on two processes, with its counts

`run_sample` and `count_campaign` are for the bench. What "cut" and "torn" mean: docs/assurance/power-cuts.md.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from random import Random

from bootloader.reference.board import Copy
from bootloader.reference.codes import Refused
from bootloader.reference.records import Floors
from bootloader.simulation.cuts import single_operations
from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.sim_flash import FlashSnapshot, Operation, PowerCut, SimFlash, Tear
from tests.faults.life_recovery import recover_life
from tests.faults.life_scenarios import LIFE_SCENARIOS, LifeScenario, RecordingPlatform, factory_test_image
from tests.faults.life_witness import LifeWitness
from tests.faults.recovery import Outcome, recover
from tests.faults.scenarios import SCENARIOS, SECOND_IMAGE, WORLD, Scenario, known_images
from tests.faults.witness import Secrets, Violation, Witness
from tests.unit.reference.fake.keys import fake_key

Variant = tuple[Tear, int]
AnyScenario = Scenario | LifeScenario
ALL_SCENARIOS: tuple[AnyScenario, ...] = (*SCENARIOS, *LIFE_SCENARIOS)

# Every way in which one operation is cut: what the tear leaves, and the seed of its chances.
# "After" operation n leaves what "before" operation n + 1 does; only the last one is cut after it.
VARIANTS = (
    (Tear.BEFORE, 0),
    (Tear.NO_BITS, 0),
    (Tear.NEARLY_NOTHING, 0),
    (Tear.RANDOM, 1),
    (Tear.RANDOM, 2),
    (Tear.UNSTABLE, 0),
    (Tear.NEARLY_ALL, 0),
    (Tear.NEARLY_ALL, 1),
    (Tear.ALL_BITS, 0),
)
SHARD_OPERATIONS = 60
SHARD_FIRST_CUTS = 16
FIRST_CUTS = 48  # of each scenario, that a second cut follows
FIRST_TEARS = ((Tear.NEARLY_ALL, 9), (Tear.RANDOM, 9), (Tear.NEARLY_NOTHING, 9))
SECOND_CUTS = 16  # in the recovery from each of those
SECOND_CUTS_EARLY = 120  # half of them are among the first operations, where what is torn gets settled
PROCESSES = 2
PARTS = 40


@dataclass(frozen=True)
class Prepared:
    """A scenario, run once without a cut: the flash before it, and its operations one by one.

    `drawn` counts what the device's random generator had given when it was over.
    """

    scenario: AnyScenario
    device: SimulatedDevice
    before: FlashSnapshot
    operations: tuple[Operation, ...]
    witness: Witness
    drawn: int = 0


@dataclass(frozen=True)
class Shard:
    """A stretch of the campaign that one process works through; `second` is for second cuts."""

    scenario: str
    first: int
    last: int
    second: bool = False


@cache
def prepare(name: str) -> Prepared:
    scenario = scenario_named(name)
    device = scenario.start()
    if isinstance(scenario, LifeScenario):
        return _prepare_life(scenario, device)
    before = device.flash.snapshot()
    floors = device.bootloader.running.state.floors
    operations = log_of(device, scenario)
    bundles = (WORLD.genesis, *scenario.goal.bundles)
    witness = Witness(device, before, floors, dict(known_images()), secrets(), scenario.may_change, bundles)
    return Prepared(scenario, device, before, operations, witness)


def _prepare_life(scenario: LifeScenario, device: SimulatedDevice) -> Prepared:
    platform = device.platform
    assert isinstance(platform, RecordingPlatform)
    before = device.flash.snapshot()
    floors = Floors() if None in scenario.passes else device.bootloader.running.state.floors
    operations = log_of(device, scenario)
    images = dict((*known_images().items(), factory_test_image()))
    facts = (device, before, floors, images, secrets(), scenario.may_change, (WORLD.genesis,))
    known_keys = tuple(fake_key(name).private for name in ("device agreement", "group agreement"))
    witness = LifeWitness(*facts, scenario=scenario, known_keys=known_keys)
    return Prepared(scenario, device, before, operations, witness, len(platform.drawn))


def scenario_named(name: str) -> AnyScenario:
    (scenario,) = [scenario for scenario in ALL_SCENARIOS if scenario.name == name]
    return scenario


def log_of(device: SimulatedDevice, scenario: AnyScenario) -> tuple[Operation, ...]:
    device.flash.log = []
    scenario.act(device)
    operations = tuple(single_operations(device.flash.log, device.flash.write_unit_bytes))
    device.flash.log = None
    return operations


@cache
def secrets() -> Secrets:
    """Needles of half a key each: half a key is a secret too. The trust bundle in a bootloader's image is none."""
    plans = [WORLD.application_plan(version) for version in (1, 2)]
    copies = [WORLD.bootloader_plan(version, copy) for version in (1, 2) for copy in Copy]
    content_keys = [plan.content_key for plan in (*plans, *copies)]
    private_keys = [fake_key(name).private for name in ("device identity", "device agreement", "group agreement")]
    texts = [plans[0].image, SECOND_IMAGE, *(plan.image[: -len(WORLD.genesis)] for plan in copies)]
    fragments = [text[at : at + 16] for text in texts for at in (0, len(text) // 2, len(text) - 16)]
    return Secrets(_halves(content_keys), _halves(private_keys), tuple(fragments))


def _halves(keys: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(half for key in keys for half in (key[:16], key[16:]))


# --- what a cut leaves ---


@dataclass(frozen=True)
class Cut:
    """Where and how the power failed."""

    number: int
    operation: Operation
    tear: Tear
    seed: int

    def __str__(self) -> str:
        kind = "erase" if self.operation.data is None else f"program {self.operation.data.hex()}"
        place = f"operation {self.number} ({kind} at {self.operation.address:#010x})"
        return f"{self.tear.value} (seed {self.seed}) of {place}"


def each_cut(
    flash: SimFlash,
    start: FlashSnapshot,
    operations: Sequence[Operation],
    numbers: Iterable[int],
    variants: Callable[[int], Iterable[Variant]],
) -> Iterator[Cut]:
    """Leave in `flash` what each cut at these operations, in ascending order, would have left, one after the other."""
    flash.restore(start)
    position = 0
    for number in numbers:
        flash.replay(operations[position:number])
        position, before = number, flash.snapshot()
        for tear, seed in variants(number):
            flash.restore(before)
            flash.seed(seed << 32 | number)
            flash.cut_power_at(0, tear)
            try:
                flash.replay(operations[number : number + 1])
            except PowerCut:
                yield Cut(number, operations[number], tear, seed)
        flash.restore(before)


def variants_of(prepared: Prepared) -> Callable[[int], Sequence[Variant]]:
    """Every way of cutting one operation; "after" the last one too."""
    last = len(prepared.operations) - 1
    return lambda number: (*VARIANTS, (Tear.AFTER, 0)) if number == last else VARIANTS


# --- the campaign ---


def single_cuts(name: str, first: int, last: int) -> Iterator[Outcome]:
    """Cut the scenario once, at each operation from `first` to before `last`, and recover."""
    prepared = prepare(name)
    numbers = range(first, min(last, len(prepared.operations)))
    flash = prepared.device.flash
    for cut in each_cut(flash, prepared.before, prepared.operations, numbers, variants_of(prepared)):
        yield recover_from(prepared, str(cut))


def second_cuts(name: str, first: int, last: int) -> Iterator[Outcome]:
    """Cut the scenario, then cut the recovery: the sampled first cuts from `first` to before `last`."""
    prepared = prepare(name)
    flash = prepared.device.flash
    sample = first_cut_sample(name)[first:last]
    kinds = {
        number: (Tear.NEARLY_ALL, Tear.RANDOM, Tear.NEARLY_NOTHING)[at % 3] for at, number in enumerate(sample, first)
    }
    for cut in each_cut(flash, prepared.before, prepared.operations, sample, lambda number: [(kinds[number], 9)]):
        after_first = flash.snapshot()
        flash.log = []
        recover_from(prepared, str(cut))
        operations = tuple(single_operations(flash.log, flash.write_unit_bytes))
        flash.log = None
        numbers = second_cut_sample(f"{name} {cut.number}", len(operations))
        second_kinds: dict[int, list[Variant]] = {}
        for at, number in enumerate(numbers):
            second_kinds.setdefault(number, []).append(VARIANTS[at % len(VARIANTS)])
        variants = partial(_variants_at, second_kinds)
        numbers = sorted(second_kinds)
        for second in each_cut(flash, after_first, operations, numbers, variants):
            yield recover_from(prepared, f"{cut}, then {second}", again=True)
        flash.restore(after_first)


def _variants_at(kinds: Mapping[int, Sequence[Variant]], number: int) -> Sequence[Variant]:
    return kinds[number]


def recover_from(prepared: Prepared, where: str, *, again: bool = False) -> Outcome:
    """Recover from the flash as it is; a Violation says where the power had failed. `again`: during a recovery."""
    scenario = prepared.scenario.in_recovery() if again else prepared.scenario
    witness = prepared.witness
    witness.may_change = scenario.may_change
    prepared.device.mailbox = None
    try:
        if isinstance(scenario, LifeScenario):
            assert isinstance(witness, LifeWitness)
            return recover_life(scenario, witness, drawn_before=None if again else prepared.drawn)
        return recover(scenario, witness)
    except (AssertionError, Refused) as error:
        raise Violation(f"{prepared.scenario.name}, cut {where}: {error}") from error


def first_cut_sample(name: str) -> list[int]:
    count = len(prepare(name).operations)
    return sorted(Random(name).sample(range(count), min(FIRST_CUTS, count)))


def second_cut_sample(seed: str, count: int) -> list[int]:
    """Half among the first operations of the recovery, half among all; a short recovery is cut twice at some."""
    random, half = Random(seed), SECOND_CUTS // 2
    if count < SECOND_CUTS:
        return sorted(random.choices(range(count), k=SECOND_CUTS))
    early = set(random.sample(range(min(SECOND_CUTS_EARLY, count)), half))
    later = [number for number in range(count) if number not in early]
    return sorted((*early, *random.sample(later, half)))


@cache
def shards() -> tuple[Shard, ...]:
    """The whole campaign, in pieces of about the same size."""
    pieces = []
    for scenario in ALL_SCENARIOS:
        count = len(prepare(scenario.name).operations)
        pieces += [Shard(scenario.name, at, at + SHARD_OPERATIONS) for at in range(0, count, SHARD_OPERATIONS)]
        steps = range(0, len(first_cut_sample(scenario.name)), SHARD_FIRST_CUTS)
        pieces += [Shard(scenario.name, at, at + SHARD_FIRST_CUTS, second=True) for at in steps]
    return tuple(pieces)


def run_shard(shard: Shard) -> Counter[Outcome]:
    """How often each outcome came; raises Violation at the first third state."""
    run = second_cuts if shard.second else single_cuts
    return Counter(run(shard.scenario, shard.first, shard.last))


def count_shard(shard: Shard) -> int:
    """How many scenarios a shard is. Second cuts: each sampled first cut has its sampled second cuts."""
    if shard.second:
        return len(first_cut_sample(shard.scenario)[shard.first : shard.last]) * SECOND_CUTS
    total = len(prepare(shard.scenario).operations)
    last = min(shard.last, total)
    return (last - shard.first) * len(VARIANTS) + (last == total)


def sample_of(name: str, count: int) -> Counter[Outcome]:
    """At least `count` single cuts of one scenario, the same every time, with the first and the last operation."""
    total = len(prepare(name).operations)
    wanted = min(total, -(-count // len(VARIANTS)))
    numbers = {0, total - 1, *Random(name).sample(range(total), wanted)}
    counts: Counter[Outcome] = Counter()
    for number in sorted(numbers):
        counts.update(single_cuts(name, number, number + 1))
    return counts


def try_everything(name: str, *, last: int | None = None) -> Counter[Outcome]:
    """All single cuts of one scenario, in an order of no order: what is wrong shows soon. `last`: of so many operations
    at its end only.
    """
    counts: Counter[Outcome] = Counter()
    try:
        total = len(prepare(name).operations)
    except (AssertionError, Refused) as error:
        raise Violation(f"{name}, without any cut: {error}") from error
    first = 0 if last is None else max(0, total - last)
    for number in Random(name).sample(range(first, total), total - first):
        counts.update(single_cuts(name, number, number + 1))
    return counts


def count_campaign() -> int:
    """How many scenarios the whole campaign is, single cuts and second cuts."""
    return sum(count_shard(shard) for shard in shards())


def run_sample(seconds: float) -> float:
    """Scenarios (cut, recover, examine) per second of one process, over single cuts spread evenly over the campaign."""
    random = Random("sample")
    places = [(s.name, n) for s in ALL_SCENARIOS for n in range(len(prepare(s.name).operations))]
    random.shuffle(places)
    done, begin = 0, time.perf_counter()
    for name, number in places:
        done += sum(1 for _ in single_cuts(name, number, number + 1))
        elapsed = time.perf_counter() - begin
        if elapsed >= seconds:
            return done / elapsed
    return done / (time.perf_counter() - begin)


def main() -> int:
    """Run everything, print the counts; exit code 1 if anything was violated."""
    begin = time.perf_counter()
    totals: dict[tuple[str, bool], Counter[Outcome]] = {}
    violations = 0
    with ProcessPoolExecutor(PROCESSES) as pool:
        for shard, future in [(shard, pool.submit(run_shard, shard)) for shard in shards()]:
            counts = totals.setdefault((shard.scenario, shard.second), Counter())
            try:
                counts.update(future.result())
            except Violation as violation:
                violations += 1
                print(f"VIOLATION: {violation}", flush=True)
    seconds = time.perf_counter() - begin
    for (name, second), counts in totals.items():
        print(describe(name, second, counts))
    total = sum(sum(counts.values()) for counts in totals.values())
    rate = f"{seconds:,.0f} s, {total / seconds:,.0f} per second on {PROCESSES} processes"
    print(f"{total:,} of {count_campaign():,} scenarios in {rate}; violations: {violations}")
    return 1 if violations else 0


def describe(name: str, second: bool, counts: Counter[Outcome]) -> str:
    """One line of the account."""
    said = ", ".join(f"{counts[outcome]:,} {outcome.value}" for outcome in Outcome if counts[outcome])
    return f"{name}{', cut twice' if second else ''}: {sum(counts.values()):,} ({said})"


if __name__ == "__main__":
    sys.exit(main())
