"""Opens a station: its folder, its token's keys, the chain of trust bundles, the ledger (docs/spec/station.md, 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import now, open_session, repository_of, site_of
from pki.errors import ChainInvalid, ConfigurationError
from provisioning.station.facts import Terms
from provisioning.station.folder import BOARD_FILE, CA_FILE, GROUP_FILE, IMAGE_FILE, ORDER_FILE, StationFolder
from provisioning.station.rules import Rule, refused
from provisioning.station.trust import TrustLink, require_order_trusted
from signer.device_objects.common import Injection
from signer.device_objects.work_order import SignedWorkOrder, parse_work_order

if TYPE_CHECKING:
    from bootloader.reference.board import Board
    from bootloader.reference.trust_bundle import TrustBundle
    from provisioning.station.fixture import FactoryImage
    from provisioning.station.injecting import Injector
    from provisioning.station.station import Station
    from signer.tokens.key_handle import KeyHandle
    from signer.tokens.session import Session


@dataclass(frozen=True, slots=True)
class StationKeys:
    """The station's keys on its token, found by what the order says of them."""

    station: KeyHandle
    lot: KeyHandle
    lot_ca: KeyHandle


@dataclass(frozen=True, slots=True)
class OpenStation:
    """A station at work."""

    folder: StationFolder
    order: SignedWorkOrder
    keys: StationKeys
    station: Station
    chain: tuple[TrustLink, ...]
    is_production: bool

    @property
    def bundles(self) -> dict[int, bytes]:
        """The trust bundles by version."""
        return {link.version: link.raw for link in self.chain}

    def terms(self, *, reprograms: bool, asks_serial: bool) -> Terms:
        """What holds for every board."""
        order = self.order.order
        return Terms(
            order_id=order.order_id,
            product_id=order.product_id,
            lot=order.lot,
            hardware_revision_min=order.hardware_revision_min,
            hardware_revision_max=order.hardware_revision_max,
            protection_required=order.protection_required,
            newest_bundle_version=self.chain[-1].version,
            allows_simulation_only=not self.is_production,
            option_bytes=self.folder.config.option_bytes,
            reprograms=reprograms,
            asks_serial=asks_serial,
        )

    def image(self) -> FactoryImage:
        """The factory image, as the whole flash of the board."""
        self.folder.content(IMAGE_FILE)
        return factory_image(self.folder.path / IMAGE_FILE, board_from(self.folder.content(BOARD_FILE)))


@contextmanager
def open_station(context: typer.Context, path: Path, *, to_work: bool) -> Iterator[OpenStation]:
    """Everything checked, the folder locked. `to_work`: the order must be in force, and trusted, too.

    Raises PolicyViolation ST-01 to ST-28, TokenError, ConfigurationError, ChainInvalid.
    """
    from provisioning.station.certifying import LotCa
    from provisioning.station.ledger import Ledger
    from provisioning.station.ledger_file import LedgerFile
    from provisioning.station.station import Station, Workshop
    from provisioning.station.token_evidence import TokenEvidence

    repository = repository_of(context)
    folder = StationFolder(path)
    with folder.locked():
        order = read_order(folder.content(ORDER_FILE))
        chain = trust_chain(folder.bundle_paths())
        if to_work:
            require_order_trusted(order, chain[-1])
        with open_session(repository, site_of(context, repository), folder.config.token, writable=True) as session:
            keys = find_keys(session, order)
            ca = folder.content(CA_FILE)
            certifier = LotCa(keys.lot_ca, ca, organization_of(ca), folder.config.hardware_type, session.random)
            ledger = Ledger(LedgerFile(folder.ledger_path), TokenEvidence(session), order, keys.station, now)
            try:
                injector = injector_of(session, order, folder.content(GROUP_FILE) if folder.has_group_key else None)
                workshop = Workshop(order, keys.lot, certifier, injector, now)
                station = Station(workshop, ledger)
                if to_work:
                    station.require_open()
                yield OpenStation(
                    folder, order, keys, station, chain, repository.authority.environment.value == "production"
                )
            finally:
                ledger.close()


def read_order(data: bytes) -> SignedWorkOrder:
    """A signed work order. Raises FormatError."""
    return parse_work_order(data)


def find_keys(session: Session, order: SignedWorkOrder) -> StationKeys:
    """The keys that the order names. Raises PolicyViolation ST-04, ST-05, ST-06."""
    station = next((key for key in (_found(session, item.fingerprint) for item in order.order.stations) if key), None)
    if station is None:
        raise refused(
            Rule.NOT_THIS_STATION, "the token has the key of none of the order's stations; use the right token"
        )
    lot = _found(session, order.order.lot_public_key.spki_sha256)
    if lot is None:
        raise refused(
            Rule.LOT_KEY, "the token has not the order's lot key; bring it there by the ceremony station-issue"
        )
    lot_ca = _found(session, order.order.issuing_ca)
    if lot_ca is None:
        raise refused(Rule.ISSUING_CA, "the token has not the key of the order's issuing CA")
    return StationKeys(station, lot, lot_ca)


def _found(session: Session, spki_sha256: bytes) -> KeyHandle | None:
    """The key of a fingerprint; CKA_ID is its beginning (docs/spec/key-roles.md)."""
    from signer.tokens import KeyRef
    from signer.tokens.errors import KeyNotFound

    try:
        key = session.find(KeyRef(cka_id=spki_sha256[:20]))
    except KeyNotFound:
        return None
    return key if key.public_key.spki_sha256 == spki_sha256 else None


def injector_of(session: Session, order: SignedWorkOrder, group_key: bytes | None) -> Injector | None:
    """What injects keys by this order, None if it injects none; `group_key` is the file, where there is one.

    Raises PolicyViolation ST-11, ConfigurationError, MechanismUnsupported.
    """
    from provisioning.station.group_key import GroupKeySource, parse_group_key
    from provisioning.station.token_injection import TokenInjector

    if not order.order.inject:
        return None
    if not order.order.inject & Injection.GROUP_KEY:
        return TokenInjector(session, None)
    if group_key is None:
        raise refused(Rule.GROUP_KEY, "the order injects the group's key: give its wrapped file with --group-key")
    file = parse_group_key(group_key, order.order.group_public_key)
    return TokenInjector(session, GroupKeySource(session, file))


def trust_chain(paths: Sequence[Path]) -> tuple[TrustLink, ...]:
    """A chain of trust bundles, judged by the bootloader's own rules. Raises ChainInvalid, InputRefused."""
    from cli.trust_bundle_chain import follow_chain

    bundles, refusal = follow_chain(paths)
    if refusal is not None:
        raise ChainInvalid(f"trust bundle {refusal.path}: {refusal.refusal}")
    if not bundles:
        raise ConfigurationError("a station needs the product's chain of trust bundles: --bundle")
    return tuple(_link(bundle, path.read_bytes()) for bundle, path in zip(bundles, paths, strict=True))


def _link(bundle: TrustBundle, raw: bytes) -> TrustLink:
    from bootloader.reference.trust_bundle import Role
    from pki.values import PublicKey

    return TrustLink(
        version=bundle.version,
        raw=raw,
        product_id=bundle.product_id,
        production_keys=tuple(PublicKey(key.public_key) for key in bundle.role_keys if key.role is Role.PRODUCTION),
        revoked_key_ids=frozenset(key.key_id for key in bundle.revoked),
    )


def board_from(data: bytes) -> Board:
    """A board file, checked by the bootloader's own reader. Raises ConfigurationError."""
    from bootloader.reference.board import BoardInvalid, load_board

    try:
        return load_board(data.decode("utf-8"))
    except (BoardInvalid, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the station's board file: {error}") from None


def factory_image(path: Path, board: Board) -> FactoryImage:
    """A factory image as what stands in the whole flash. Raises InputRefused."""
    from cli.commands.device_make import read_factory_blocks
    from provisioning.station.fixture import ERASED, FactoryImage

    flash = bytearray(ERASED * board.flash_size_bytes)
    for address, content in read_factory_blocks(path, board):
        offset = address - board.flash_address
        flash[offset : offset + len(content)] = content
    regions = (board.state_0, board.state_1, board.application, board.application_data)
    written = [(region.address - board.flash_address, region.size_bytes) for region in regions if region is not None]
    return FactoryImage(board.flash_address, bytes(flash), written)


def organization_of(certificate: bytes) -> str:
    """The O of a CA's subject, which its devices carry too (X509-07). Raises ConfigurationError."""
    from pki.x509_names import DistinguishedName
    from pki.x509_parse import parse_certificate

    name = DistinguishedName.from_x509(parse_certificate(certificate).subject)
    if name.organization is None:
        raise ConfigurationError("the issuing CA's certificate names no organization")
    return name.organization
