"""What goes on when the power fails: one device before it, what it does, and what the host wants of it in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import Event as EventRecord
from bootloader.reference.records import EventKind
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice
from bootloader.simulation.sending import send_bytes
from tests.scenarios.world import World, image_of
from tests.unit.reference import builders, grants_by_hand
from tests.unit.reference.bundle_chains import Link, first_link, next_link, other_roots, without
from tests.unit.reference.fake.keys import fake_key

# Version 2 has two chunks, the others one: a campaign costs by the byte.
WORLD = World(application_size_bytes=900)
SECOND_IMAGE = image_of("application 2", 4420)

Heads = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Goal:
    """What the host brings the device to after a cut: application and bootloader of these versions, confirmed."""

    application: int = 1
    application_package: bytes | None = None  # to install, or to install again
    bootloader_package: bytes | None = None
    bootloader_copy: Copy = Copy.A
    listens: bool = True  # False: the new copy's link is dead until it has fallen back
    bundles: tuple[bytes, ...] = ()  # the links of trust bundles to follow, after the genesis
    grant: bytes | None = None  # sent before the application's package where the device does not hold it


@dataclass(frozen=True)
class Scenario:
    """`start` makes the device, `act` is cut. `erases` names the regions, beside the journal, that may change."""

    name: str
    start: Callable[[], SimulatedDevice]
    act: Callable[[SimulatedDevice], None]
    goal: Goal
    may_change: tuple[str, ...] = ()
    waits_as: tuple[DeviceCode, ...] = ()

    def in_recovery(self) -> Scenario:
        """The same, once a host is at work: it may be cut while it installs again what the goal names."""
        regions = set(self.may_change)
        if self.goal.application_package is not None:
            regions.add("application")
        if self.goal.bootloader_package is not None:
            regions.add("bootloader_a" if self.goal.bootloader_copy is Copy.A else "bootloader_b")
        waits = (DeviceCode.NO_APPLICATION,) if "application" in regions else ()
        return replace(self, may_change=tuple(sorted(regions)), waits_as=waits)


@cache
def application(version: int) -> bytes:
    return WORLD.application(version, image=SECOND_IMAGE) if version == 2 else WORLD.application(version)


@cache
def granted_application() -> bytes:
    """Application 2 once more, for whoever holds a grant."""
    by_grant = {"target": builders.GRANT_REQUIRED, "recipient_mode": builders.MODE_GRANT}
    return WORLD.application(2, image=SECOND_IMAGE, **by_grant)


@cache
def grant(batch: str = "fake batch one  ") -> bytes:
    """This device's grant for it; another batch has another ephemeral key."""
    package_plan = WORLD.application_plan(2)
    return grants_by_hand.grant_of(
        grants_by_hand.GrantPlan(
            recipients=grants_by_hand.recipients_with(WORLD.padded_uid, fake_key("device agreement"), 5, 3),
            head_hash=builders.sha256(granted_application()[:1024]),
            content_key=package_plan.content_key,
            image_salt=package_plan.image_salt,
            batch_id=batch.encode(),
            ephemeral=fake_key(f"ephemeral of {batch}"),
        ),
        3,
    )


@cache
def bootloader(version: int, copy: Copy) -> bytes:
    return WORLD.bootloader(version, copy)


@cache
def known_images() -> Heads:
    """Every image that is ever signed here, by its head: nothing else may run."""
    packages = [(application(v)[:1024], SECOND_IMAGE if v == 2 else WORLD.application_plan(v).image) for v in (1, 2)]
    copies = [
        (bootloader(version, copy)[:1024], WORLD.bootloader_plan(version, copy).image)
        for version in (1, 2)
        for copy in Copy
    ]
    return dict([*packages, *copies, (granted_application()[:1024], SECOND_IMAGE)])


@cache
def second_bundle() -> Link:
    """The key that signed every application here is replaced and revoked: what is installed must go on all the same."""
    genesis = first_link()
    gone = fake_key("application release")
    return next_link(genesis, role_keys=without(genesis.plan, gone), revoked=[(gone.key_id, 0)])


@cache
def third_bundle() -> Link:
    """All roots replaced in one step."""
    return next_link(second_bundle(), roots=other_roots("third"))


# --- devices ---


def new_device() -> SimulatedDevice:
    """OPERATIONAL, listening for want of an application."""
    device = WORLD.device()
    device.power_on()
    return device


def working_device() -> SimulatedDevice:
    """Application 1 runs, confirmed."""
    device = WORLD.device_with(1)
    device.power_on()
    return device


def listening_device() -> SimulatedDevice:
    """Application 1 is confirmed, and has asked for update mode."""
    device = working_device()
    device.application_requests_update()
    return device


def device_on_trial() -> SimulatedDevice:
    """Application 2 runs for the first time, over application 1."""
    device = listening_device()
    device.install(application(2))
    return device


def device_with_second_copy() -> SimulatedDevice:
    """Bootloader 2 runs from copy B, confirmed, and listens."""
    device = listening_device()
    device.install(bootloader(2, Copy.B))
    device.receive_trust_bundle(WORLD.genesis)
    device.power_on()
    device.application_requests_update()
    return device


def device_with_dead_link() -> SimulatedDevice:
    """Bootloader 2 is in copy B, complete and never started; nobody will speak to it."""
    device = listening_device()
    package = bootloader(2, Copy.B)
    device.bootloader.begin_upload(len(package))
    send_bytes(device.bootloader, package)
    return device


def device_with_copy_on_trial() -> SimulatedDevice:
    """Bootloader 2 runs from copy B for the first time, and listens."""
    device = listening_device()
    device.install(bootloader(2, Copy.B))
    return device


def with_full_journal(device: SimulatedDevice) -> SimulatedDevice:
    """The same device, with so many events on record that its journal is due for compaction."""
    journal = device.bootloader.running.journal
    while not journal.is_compaction_due:
        count = journal.state.events[-1].count + 1
        journal.append(EventRecord(DeviceCode.SIGNATURE_INVALID, EventKind.REFUSAL, count))
    return device


def device_compacted_once() -> SimulatedDevice:
    """The second half is active, and full."""
    device = with_full_journal(listening_device())
    device.power_on()
    device.application_requests_update()
    return with_full_journal(device)


def device_with_grant() -> SimulatedDevice:
    """It holds the grant of application 2, and will not be sent it again."""
    device = listening_device()
    device.receive_grant(grant())
    return device


# --- what is cut ---


def install_application(version: int) -> Callable[[SimulatedDevice], None]:
    def act(device: SimulatedDevice) -> None:
        device.install(application(version))

    return act


def update_bootloader(copy: Copy) -> Callable[[SimulatedDevice], None]:
    """Install, come up listening, be confirmed by the trust bundle, start the application."""

    def act(device: SimulatedDevice) -> None:
        running = device.install(bootloader(2, copy))
        assert running == InUpdateMode(DeviceCode.UPDATE_REQUESTED, copy)
        device.receive_trust_bundle(WORLD.genesis)
        device.power_on()

    return act


def follow(*links: bytes) -> Callable[[SimulatedDevice], None]:
    """Send trust bundles, one after the other, and start the application."""

    send = follow_without_a_start(*links)

    def act(device: SimulatedDevice) -> None:
        send(device)
        device.power_on()

    return act


def follow_without_a_start(*links: bytes) -> Callable[[SimulatedDevice], None]:
    def act(device: SimulatedDevice) -> None:
        for link in links:
            device.receive_trust_bundle(link)

    return act


def receive_grant(device: SimulatedDevice) -> None:
    """Take a grant, and start the application."""
    device.receive_grant(grant())
    device.power_on()


def install_by_grant(device: SimulatedDevice) -> None:
    device.install(granted_application())


def start(device: SimulatedDevice) -> None:
    device.power_on()


def confirm(device: SimulatedDevice) -> None:
    device.application_confirms()


def start_until_it_falls_back(device: SimulatedDevice) -> None:
    """Three starts of the copy that hears nothing, and one of the copy before it."""
    for copy in (Copy.B, Copy.B, Copy.B, Copy.A):
        running = device.power_on()
        assert isinstance(running, ApplicationRuns)
        assert running.copy is copy


_SECOND = (second_bundle().file,)
_BOTH = (second_bundle().file, third_bundle().file)
_UPDATE = Goal(application=2, application_package=application(2))
_BY_GRANT = Goal(application=2, application_package=granted_application())
_WAITS = (DeviceCode.NO_APPLICATION,)
_APPLICATION = ("application",)

SCENARIOS = (
    Scenario("first install", new_device, install_application(1), Goal(1, application(1)), _APPLICATION, _WAITS),
    Scenario("application update", listening_device, install_application(2), _UPDATE, _APPLICATION, _WAITS),
    Scenario("application trial start", device_on_trial, start, _UPDATE),
    Scenario("application confirmation", device_on_trial, confirm, _UPDATE),
    Scenario(
        "bootloader update A to B",
        listening_device,
        update_bootloader(Copy.B),
        Goal(bootloader_package=bootloader(2, Copy.B), bootloader_copy=Copy.B),
        ("bootloader_b",),
    ),
    Scenario(
        "bootloader update B to A",
        device_with_second_copy,
        update_bootloader(Copy.A),
        Goal(bootloader_package=bootloader(2, Copy.A), bootloader_copy=Copy.A),
        ("bootloader_a",),
    ),
    Scenario(
        "bootloader trial without a link",
        device_with_dead_link,
        start_until_it_falls_back,
        Goal(bootloader_package=bootloader(2, Copy.B), bootloader_copy=Copy.B, listens=False),
    ),
    Scenario("journal compaction", lambda: with_full_journal(listening_device()), start, Goal()),
    Scenario("journal compaction back", device_compacted_once, start, Goal()),
    Scenario(
        "compaction within an installation",
        lambda: with_full_journal(listening_device()),
        install_application(2),
        _UPDATE,
        _APPLICATION,
        _WAITS,
    ),
    Scenario("grant", listening_device, receive_grant, replace(_BY_GRANT, grant=grant())),
    Scenario(
        "installation by grant",  # with a compaction, which takes the grant along
        lambda: with_full_journal(device_with_grant()),
        install_by_grant,
        _BY_GRANT,
        _APPLICATION,
        _WAITS,
    ),
    Scenario("trust bundle succession", listening_device, follow(*_SECOND), Goal(bundles=_SECOND)),
    Scenario("trust bundle chain of two", device_compacted_once, follow(*_BOTH), Goal(bundles=_BOTH)),
    Scenario(
        "trust bundle to a copy on trial",
        device_with_copy_on_trial,
        follow(*_SECOND),
        Goal(bootloader_package=bootloader(2, Copy.B), bootloader_copy=Copy.B, bundles=_SECOND),
    ),
)


def scenario_named(name: str) -> Scenario:
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    return scenario
