"""A device's life, cut: keys made, activated, returned, decommissioned, provisioned anew; and where the host goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import Activated, EventKind, Floors, Lifecycle, PendingGrant
from bootloader.simulation.device import InUpdateMode, PowerOn, SimulatedDevice
from bootloader.simulation.platform import OptionBytes, SimulatedPlatform
from tests.faults.scenarios import WORLD, application, bootloader
from tests.scenarios.life import HOST, PROTECTED
from tests.unit.reference.builders import build_head, build_package, factory_test_plan, sha256
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.life_builders import (
    ACTIVATION_FIELDS,
    DECOMMISSION,
    GROUP_KEY,
    ORDER_FIELDS,
    RE_PROVISION,
    REPAIR,
    ActivationPlan,
    ServicePlan,
    build_activation,
    build_service_order,
    digest_of,
)

ORDER_SIZE_BYTES = 640
PLAIN = ActivationPlan()
BOTH_INJECTED = ActivationPlan().having(inject=3)
NEW_LOT = b"another lot".ljust(16, b"\0")
PATIENT_DATA = b"what the application keeps of a patient"


class RecordingPlatform(SimulatedPlatform):
    """Remembers everything it ever drew: each of it may be a private key."""

    def __init__(self, seed: int, option_bytes: OptionBytes) -> None:
        super().__init__(seed, option_bytes)
        self.drawn: list[bytes] = []

    def random_bytes(self, size_bytes: int) -> bytes:
        drawn = super().random_bytes(size_bytes)
        self.drawn.append(drawn)
        return drawn


@dataclass(frozen=True)
class LifeScenario:
    """`start` makes the device, `act` is cut. `ends_as` is where the host brings it, by `service` or by `activation`.

    `passes` are the states of life that may be seen on the way; None among them: no readable state.
    """

    name: str
    start: Callable[[], SimulatedDevice]
    act: Callable[[SimulatedDevice], None]
    ends_as: Lifecycle
    passes: tuple[Lifecycle | None, ...]
    activation: ActivationPlan = PLAIN
    service: ServicePlan | None = None
    may_change: tuple[str, ...] = ()

    def in_recovery(self) -> LifeScenario:
        """The host does the same again, and nothing else."""
        return self


# --- what hosts do ---


@cache
def _issued() -> dict[bytes, tuple[Activated, bool]]:
    """Every activation ever signed here, by its digest: what must be on record, and whether it brought a group key."""
    return {}


def issued(digest: bytes) -> tuple[Activated, bool] | None:
    return _issued().get(digest)


def activate(device: SimulatedDevice, plan: ActivationPlan) -> None:
    """Ask, sign, send."""
    data = build_activation(plan, device.challenge(HOST.public))
    order, activation = data[:ORDER_SIZE_BYTES], data[ORDER_SIZE_BYTES:]
    digest = digest_of("SR-activate-v1", ACTIVATION_FIELDS, activation)
    order_digest = digest_of("SR-order-v1", ORDER_FIELDS, order)
    record = Activated(plan.order.order_id, order_digest, digest, plan.certificate_digest, plan.serial)
    _issued()[digest] = (record, bool(plan.order.inject & GROUP_KEY))
    device.receive_activation(data)


def serve(device: SimulatedDevice, plan: ServicePlan) -> None:
    device.receive_service_order(build_service_order(plan, device.challenge(HOST.public)))


# --- devices ---


def locked() -> SimulatedDevice:
    """Protected, and listening for want of anything to run."""
    device = WORLD.locked_device()
    device.platform = RecordingPlatform(1, PROTECTED)
    device.power_on()
    return device


def locked_with_keys() -> SimulatedDevice:
    device = locked()
    device.challenge(HOST.public)
    return device


def with_full_journal(device: SimulatedDevice) -> SimulatedDevice:
    """The same, its journal due for compaction."""
    running = device.bootloader.running
    while not running.journal.is_compaction_due:
        running.events.record(EventKind.REFUSAL, DeviceCode.SIGNATURE_INVALID)
    return device


@cache
def factory_test() -> bytes:
    plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    return build_package(replace(plan, image=plan.image[:800]))


@cache
def factory_test_image() -> tuple[bytes, bytes]:
    plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    plan = replace(plan, image=plan.image[:800])
    return build_head(plan), plan.image


def tested() -> SimulatedDevice:
    """LOCKED with keys, and the factory test is installed."""
    device = locked_with_keys()
    device.install(factory_test())
    device.entry_pin_is_active = True
    device.power_on()
    device.entry_pin_is_active = False
    return device


def at_work() -> SimulatedDevice:
    """Activated with injected keys, application 1 confirmed, patient data in flash, a grant pending; it listens."""
    device = locked()
    activate(device, BOTH_INJECTED)
    device.power_on()
    device.install(application(1))
    device.application_confirms()
    assert device.board.application_data is not None
    device.flash.load(device.board.application_data.address, PATIENT_DATA)
    device.application_requests_update()
    grant = PendingGrant(sha256(b"batch")[:16], sha256(b"head"), fake_key("batch").public, sha256(b"wrapped"))
    device.bootloader.running.journal.append(grant)
    return device


def on_trial_at_work() -> SimulatedDevice:
    """The same, and bootloader 2 runs from copy B for the first time."""
    device = at_work()
    assert device.install(bootloader(2, Copy.B)) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)
    return device


def in_repair() -> SimulatedDevice:
    device = at_work()
    serve(device, ServicePlan(action=REPAIR))
    device.power_on()
    return device


def without_state() -> SimulatedDevice:
    """Was at work; both headers of its journal were overwritten by something."""
    device = at_work()
    for region in (device.board.state_0, device.board.state_1):
        device.flash.corrupt(region.address, bytes(16))
    assert device.power_on() == InUpdateMode(DeviceCode.NO_STATE, Copy.A)
    return device


# --- what is cut ---


def ask(device: SimulatedDevice) -> None:
    device.challenge(HOST.public)


def be_activated(plan: ActivationPlan) -> Callable[[SimulatedDevice], None]:
    def act(device: SimulatedDevice) -> None:
        activate(device, plan)
        device.power_on()

    return act


def be_served(plan: ServicePlan) -> Callable[[SimulatedDevice], None]:
    """The order, the reset, and all that the next start does."""

    def act(device: SimulatedDevice) -> None:
        serve(device, plan)
        device.power_on(PowerOn.WARM)

    return act


_REPAIR = ServicePlan(action=REPAIR)
_DECOMMISSION = ServicePlan(action=DECOMMISSION)
_RE_PROVISION = ServicePlan(action=RE_PROVISION, lot=NEW_LOT, floors=(0, 3, 2))
_LOCKED, _OPERATIONAL, _RMA = Lifecycle.LOCKED, Lifecycle.OPERATIONAL, Lifecycle.RMA
_DECOMMISSIONED = Lifecycle.DECOMMISSIONED
_ERASED = ("application", "application_data")

LIFE_SCENARIOS = (
    LifeScenario("keys made at a challenge", locked, ask, _OPERATIONAL, (_LOCKED, _OPERATIONAL)),
    LifeScenario("activation", locked_with_keys, be_activated(PLAIN), _OPERATIONAL, (_LOCKED, _OPERATIONAL)),
    LifeScenario(
        "activation with injected keys and a compaction",
        lambda: with_full_journal(locked_with_keys()),
        be_activated(BOTH_INJECTED),
        _OPERATIONAL,
        (_LOCKED, _OPERATIONAL),
        activation=BOTH_INJECTED,
    ),
    LifeScenario("activation after a factory test", tested, be_activated(PLAIN), _OPERATIONAL, (_LOCKED, _OPERATIONAL)),
    LifeScenario(
        "return for repair",
        at_work,
        be_served(_REPAIR),
        _RMA,
        (_OPERATIONAL, _RMA),
        service=_REPAIR,
        may_change=_ERASED,
    ),
    LifeScenario(
        "return for repair to a copy on trial",
        on_trial_at_work,
        be_served(_REPAIR),
        _RMA,
        (_OPERATIONAL, _RMA),
        service=_REPAIR,
        may_change=_ERASED,
    ),
    LifeScenario(
        "decommissioning of a locked device",
        lambda: with_full_journal(tested()),
        be_served(_DECOMMISSION),
        _DECOMMISSIONED,
        (_LOCKED, _DECOMMISSIONED),
        service=_DECOMMISSION,
        may_change=_ERASED,
    ),
    LifeScenario(
        "re-provisioning after repair",
        in_repair,
        be_served(_RE_PROVISION),
        _LOCKED,
        (_RMA, _LOCKED),
        service=_RE_PROVISION,
    ),
    LifeScenario(
        "re-provisioning without a state",
        without_state,
        be_served(_RE_PROVISION),
        _LOCKED,
        (None, _LOCKED),
        service=_RE_PROVISION,
    ),
)

FLOORS_OF_ORDER = Floors(*_RE_PROVISION.floors)
