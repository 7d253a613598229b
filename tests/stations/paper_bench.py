"""A station on paper: software keys, evidence in memory, a ledger in a real file, and nests with paper boards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pki.values import PublicKey
from pki.x509_certificates import CertificatePlan, issue_certificate, issue_root_certificate
from pki.x509_names import DistinguishedName
from pki.x509_profiles import LOT_CA, PRODUCTION_CA, ROOT_CA
from provisioning.station.certifying import LotCa
from provisioning.station.evidence import EvidenceStore
from provisioning.station.facts import FlashContent, OptionBytes, Terms, Verdict
from provisioning.station.fixture import FactoryImage, FixtureError, Nest
from provisioning.station.injecting import Injector
from provisioning.station.ledger import Ledger, first_evidence
from provisioning.station.ledger_file import LEDGER_FILE, LedgerFile, create_ledger
from provisioning.station.runner import Device, Runner
from provisioning.station.station import Station, Workshop
from provisioning.station.steps import Step
from signer.device_objects.common import Injection, Protection
from signer.device_objects.work_order import SignedWorkOrder, StationQuota, WorkOrder, parse_work_order
from signer.signing_key import SigningKey, sign_verified
from tests.stations.paper_device import Chip, Facts, PaperDevice
from tests.unit.log.software_key import SoftwareKey

NOW = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)
PRODUCT_ID = bytes(range(1, 17))
LOT = "LOT-7"
NOTHING = Injection(0)
IMAGE = FactoryImage(0x0800_0000, b"factory image".ljust(4096, b"\xff"))
OPTIONS = OptionBytes(readout_level=1, pre_bootloader_write_protected=True, brown_out_level=True)


class LabelledKey(SoftwareKey):
    """A software key with a label, as CA keys have."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label


class MemoryEvidence:
    """An `EvidenceStore` that can be looked into, put back and made to fail."""

    def __init__(self) -> None:
        self.objects: dict[bytes, tuple[bytes, ...]] = {}
        self.fails_with: Exception | None = None
        self.writes = 0

    def read(self, order_id: bytes) -> tuple[bytes, ...]:
        return self.objects.get(order_id, ())

    def replace(self, order_id: bytes, data: bytes) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.writes += 1
        self.objects[order_id] = (data,)


class PaperNest:
    """A `Nest` with paper boards, and the device on its link: the same object serves as both."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.board: PaperDevice | None = None
        self.reads_uid = False
        self.forgets_option_bytes = False

    def insert(self, chip: Chip) -> None:
        self.board = PaperDevice(chip, self.facts)

    @property
    def powered(self) -> PaperDevice:
        if self.board is None:
            raise FixtureError("no board lies in the nest")
        return self.board

    def wait_for_board(self, timeout_seconds: float) -> bool:
        return self.board is not None

    def wait_for_removal(self, timeout_seconds: float) -> bool:
        return self.board is None

    def read_uid(self) -> bytes | None:
        return self.powered.chip.uid if self.reads_uid else None

    def read_option_bytes(self) -> OptionBytes:
        chip = self.powered.chip
        return OptionBytes(chip.readout_level, bool(chip.options & 4), bool(chip.options & 8), bool(chip.options & 16))

    def write_option_bytes(self, wanted: OptionBytes) -> None:
        if not self.forgets_option_bytes:
            chip = self.powered.chip
            chip.readout_level, chip.options = wanted.readout_level, int(wanted.protection) & ~3

    def compare_flash(self, image: FactoryImage) -> FlashContent:
        chip = self.powered.chip
        if chip.readout_level:
            raise FixtureError("readout protection is set")
        if chip.identity is not None and chip.flash == image.content:
            return FlashContent.USED
        return image.compare(chip.flash.ljust(len(image.content), b"\xff"))

    def erase(self) -> None:
        self.powered.chip.erase()

    def program(self, image: FactoryImage) -> None:
        self.powered.chip.flash = image.content

    def power_cycle(self) -> None:
        self.powered.power_cycle()

    # The link

    def wait_until_up(self, timeout_seconds: float) -> None:
        self.powered.wait_until_up(timeout_seconds)

    def enter_update_mode(self) -> None:
        self.powered.enter_update_mode()

    def challenge(self, host_ephemeral: bytes) -> bytes:
        return self.powered.challenge(host_ephemeral)

    def send_trust_bundle(self, bundle: bytes) -> None:
        self.powered.send_trust_bundle(bundle)

    def send_activation(self, order_and_activation: bytes) -> bytes:
        return self.powered.send_activation(order_and_activation)

    def signed_status(self, nonce: bytes) -> bytes:
        return self.powered.signed_status(nonce)


@dataclass
class Bench:
    """Keys of one order and one station; `open` starts the station on its folder, as a new process would."""

    folder: Path
    production: SoftwareKey = field(default_factory=SoftwareKey)
    lot: SoftwareKey = field(default_factory=SoftwareKey)
    lot_ca: LabelledKey = field(default_factory=lambda: LabelledKey("sr:lot-ca:pump-x2:0001"))
    station_key: SigningKey = field(default_factory=SoftwareKey)
    evidence: EvidenceStore = field(default_factory=MemoryEvidence)
    injector: Injector | None = None
    inject: Injection = NOTHING
    group_public_key: PublicKey | None = None
    quota: int = 3
    now: datetime = NOW
    bundles: dict[int, bytes] = field(default_factory=dict)
    newest_bundle: int = 1

    def __post_init__(self) -> None:
        self.ca_certificate = issuing_ca(self.lot_ca)
        self.order = self.make_order()
        self.facts = Facts(PRODUCT_ID, LOT.encode(), self.production.public_key.point)
        self._threads = threading.Lock()

    def make_order(self, **changed: object) -> SignedWorkOrder:
        fields: dict[str, object] = {
            "order_id": bytes(range(101, 117)),
            "product_id": PRODUCT_ID,
            "lot": LOT,
            "quota": 1000,
            "trust_bundle_version_min": 1,
            "not_before": int((NOW - timedelta(days=1)).timestamp()),
            "not_after": int((NOW + timedelta(days=30)).timestamp()),
            "protection_required": Protection.READOUT,
            "hardware_revision_min": 3,
            "hardware_revision_max": 5,
            "lot_public_key": self.lot.public_key,
            "issuing_ca": self.lot_ca.public_key.spki_sha256,
            "stations": (StationQuota(self.station_key.public_key.spki_sha256, self.quota),),
            "signer_key_id": self.production.public_key.key_id,
            "inject": self.inject,
            "group_public_key": self.group_public_key,
        }
        order = WorkOrder(**(fields | changed))  # type: ignore[arg-type]
        return parse_work_order(order.signed(sign_verified(self.production, order.digest)))

    @property
    def ledger_path(self) -> Path:
        return self.folder / LEDGER_FILE

    def init(self) -> Bench:
        create_ledger(self.ledger_path)
        first = first_evidence(self.order, self.station_key).signed(self.station_key)
        self.evidence.replace(self.order.order.order_id, first)
        return self

    def ledger(self) -> Ledger:
        return Ledger(LedgerFile(self.ledger_path), self.evidence, self.order, self.station_key, lambda: self.now)

    def open(self) -> Station:
        certifier = LotCa(self.lot_ca, self.ca_certificate, "Example Pumps", "1.3.6.1.4.1.99999.1", os.urandom)
        workshop = Workshop(self.order, self.lot, certifier, self.injector, lambda: self.now)
        station = Station(workshop, self.ledger())
        station.require_open()
        return station

    def terms(self, **changed: object) -> Terms:
        order = self.order.order
        fields: dict[str, object] = {
            "order_id": order.order_id,
            "product_id": order.product_id,
            "lot": order.lot,
            "hardware_revision_min": order.hardware_revision_min,
            "hardware_revision_max": order.hardware_revision_max,
            "protection_required": order.protection_required,
            "newest_bundle_version": self.newest_bundle,
            "allows_simulation_only": True,
            "option_bytes": OPTIONS,
        }
        return Terms(**(fields | changed))  # type: ignore[arg-type]

    def nest(self) -> PaperNest:
        return PaperNest(self.facts)

    def chip(self, number: int) -> Chip:
        return Chip(number.to_bytes(12, "big").ljust(16, b"\0"))

    def attempt(
        self,
        station: Station,
        chip: Chip,
        *,
        device: Device | None = None,
        nest: PaperNest | None = None,
        serial: str = "",
        watch: list[Step] | None = None,
        **terms: object,
    ) -> Verdict:
        """Put a board in, and run it to its verdict."""
        nest = nest or self.nest()
        nest.insert(chip)
        return self.run(station, nest, device or nest, [] if watch is None else watch, self.terms(**terms), serial)

    def run(
        self,
        station: Station,
        nest: Nest,
        device: Device,
        watch: list[Step],
        terms: Terms,
        serial: str = "",
        at_each_step: Callable[[], None] = lambda: None,
    ) -> Verdict:
        """The board that lies in the nest, to its verdict."""

        def watcher(step: Step) -> None:
            watch.append(step)
            at_each_step()

        runner = Runner(station, nest, device, IMAGE, self.bundles, os.urandom, lambda: serial, watcher)
        return runner.attempt(terms)


def issuing_ca(lot_ca: SoftwareKey) -> bytes:
    """The lot CA's certificate under a root and a production CA that nobody keeps."""

    def plan(profile: object, name: str, key: SoftwareKey, days: int) -> CertificatePlan:
        subject = DistinguishedName(organization="Example Pumps", common_name=name)
        return CertificatePlan(profile, subject, key.public_key, os.urandom(20), YESTERDAY, days)  # type: ignore[arg-type]

    def signer(key: SoftwareKey):  # type: ignore[no-untyped-def]
        from pki.values import Scheme

        return lambda digest: key.sign(digest, Scheme.ECDSA_P256_SHA256_RAW)

    root, production = SoftwareKey(), SoftwareKey()
    root_der = issue_root_certificate(plan(ROOT_CA, "Root", root, 9000), signer(root), YESTERDAY)
    production_der = issue_certificate(
        plan(PRODUCTION_CA, "Production", production, 8000), root_der, signer(root), YESTERDAY
    )
    return issue_certificate(plan(LOT_CA, "Lot 7", lot_ca, 7000), production_der, signer(production), YESTERDAY)
