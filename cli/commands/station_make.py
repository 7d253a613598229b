"""`strongroom station init` and `station bundle`: a station's folder, and the trust bundles that come later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.cert_files import read_certificate
from cli.context import board_of, now, open_session, repository_of, site_of
from cli.options import JsonOption, ProductOption, TokenOption
from cli.output import emit, read_input
from cli.station_open import board_from, factory_image, find_keys, injector_of, organization_of, read_order, trust_chain
from cli.station_words import order_fields
from pki.errors import InputRefused
from provisioning.station.folder import (
    BOARD_FILE,
    CA_FILE,
    GROUP_FILE,
    IMAGE_FILE,
    ORDER_FILE,
    StationConfig,
    StationFolder,
    bundle_name,
    digests,
    protection_names,
    write_folder,
)
from provisioning.station.rules import Rule, refused
from signer.device_objects.common import Protection

if TYPE_CHECKING:
    from cli.station_open import StationKeys
    from provisioning.station.evidence import EvidenceStore
    from provisioning.station.trust import TrustLink
    from signer.device_objects.work_order import SignedWorkOrder

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The station's folder.")]

_ORDER_SIZE_BYTES_MAX = 4 * 1024
_IMAGE_SIZE_BYTES_MAX = 16 * 1024 * 1024
_ALWAYS = Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED | Protection.BROWN_OUT_LEVEL
"""What every board gets, whatever board file and order ask for."""


def init(
    context: typer.Context,
    folder: FolderArgument,
    token: TokenOption,
    product: ProductOption,
    order: Annotated[Path, typer.Option(metavar="FILE", help="The signed work order.")],
    issuing_ca: Annotated[Path, typer.Option(metavar="FILE", help="The certificate of the lot's CA.")],
    bundle: Annotated[list[Path], typer.Option(metavar="FILE", help="The chain of trust bundles, oldest first.")],
    factory_image_file: Annotated[Path, typer.Option("--factory-image", metavar="FILE", help="What boards hold.")],
    hardware_type: Annotated[str, typer.Option(metavar="OID", help="The maker's hardware type, in certificates.")],
    group_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The group's agreement key, wrapped by the token, if the order injects it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a station for one order: everything is checked against the order, the token and the clock first."""
    from provisioning.station.backup import new_folder
    from provisioning.station.ledger_file import LEDGER_FILE, create_ledger
    from provisioning.station.token_evidence import TokenEvidence

    repository = repository_of(context)
    signed = read_order(read_input(order, "work order", _ORDER_SIZE_BYTES_MAX))
    chain = trust_chain(bundle)
    if repository.product(product).id_bytes != signed.order.product_id:
        raise refused(Rule.OTHER_PRODUCT, f"the order is not for product {product!r}")
    board = board_of(repository, repository.product(product).board)
    ca = read_certificate(issuing_ca)
    files = {
        ORDER_FILE: signed.raw,
        CA_FILE: ca,
        IMAGE_FILE: read_input(factory_image_file, "factory image", _IMAGE_SIZE_BYTES_MAX),
        BOARD_FILE: repository.board_path(board.name).read_bytes(),
    }
    if group_key is not None:
        files[GROUP_FILE] = read_input(group_key, "group key", _ORDER_SIZE_BYTES_MAX)
    image = factory_image(factory_image_file, board_from(files[BOARD_FILE]))
    if chain[0].version == 1 and chain[0].raw not in image.content:
        raise refused(Rule.OTHER_PRODUCT, "the factory image carries another genesis bundle; use those of one product")
    with open_session(repository, site_of(context, repository), token, writable=True) as session:
        keys = find_keys(session, signed)
        _require_workable(signed, chain, keys, ca, hardware_type)
        injector_of(session, signed, files.get(GROUP_FILE))
        protection = _ALWAYS | signed.order.protection_required | Protection(int(board.protection_required))
        config = StationConfig(
            format=1,
            token=token,
            station_public_key=keys.station.public_key.point.hex(),
            product=product,
            hardware_type=hardware_type,
            protection=protection_names(protection),
            first_bundle=chain[0].version,
            files=digests({**files, bundle_name(chain[0].version): chain[0].raw}),
        )
        with new_folder(folder) as path:
            write_folder(path, config, files | {bundle_name(link.version): link.raw for link in chain})
            create_ledger(path / LEDGER_FILE)
            _begin_evidence(TokenEvidence(session), signed, keys)
    fields = {"folder": str(folder), **order_fields(signed, keys.station.public_key)}
    emit(
        fields,
        as_json,
        f"made {folder}: station {fields['station']} makes {fields['sub_quota']} devices of lot {signed.order.lot}",
    )


def _require_workable(
    order: SignedWorkOrder, chain: tuple[TrustLink, ...], keys: StationKeys, ca: bytes, hardware_type: str
) -> None:
    """Everything that a start demands, before anything is written. Raises PolicyViolation ST-03 to ST-14."""
    import os

    from pki.hardware_module_name import HardwareModuleName
    from provisioning.station.certifying import LotCa
    from provisioning.station.ledger import sub_quota
    from provisioning.station.station import require_within_dates
    from provisioning.station.trust import require_order_trusted

    require_order_trusted(order, chain[-1])
    require_within_dates(order, now())
    sub_quota(order, keys.station.public_key)
    LotCa(keys.lot_ca, ca, organization_of(ca), hardware_type, os.urandom)
    HardwareModuleName(hardware_type, b"0")


def _begin_evidence(store: EvidenceStore, order: SignedWorkOrder, keys: StationKeys) -> None:
    """Evidence of an empty ledger, unless something was counted already. Raises PolicyViolation ST-27."""
    from provisioning.station.evidence import newest_evidence
    from provisioning.station.ledger import first_evidence

    found = newest_evidence(store.read(order.order.order_id), order.order.order_id, keys.station.public_key)
    if found is not None and found.number > 0:
        raise refused(
            Rule.EVIDENCE_EXISTS,
            f"the token has evidence of {found.begun} devices counted: restore the station's backup instead",
        )
    store.replace(order.order.order_id, first_evidence(order, keys.station).signed(keys.station))


def bundle(
    folder: FolderArgument,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE…", help="The next trust bundles, oldest first.")],
    as_json: JsonOption = False,
) -> None:
    """Add the next trust bundles: boards get them before anything else. A revoked lot key ends the order here, too."""
    station = StationFolder(folder)
    with station.locked():
        have = station.bundle_paths()
        chain = trust_chain([*have, *bundles])
        for link in chain[len(have) :]:
            station.add_bundle(link.version, link.raw)
    if not bundles:
        raise InputRefused("name at least one trust bundle")
    newest = chain[-1].version
    emit({"folder": str(folder), "newest": newest}, as_json, f"{folder}: trust bundle {newest} is the newest")
