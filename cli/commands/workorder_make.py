"""`strongroom workorder` prepare, request, sign, issue: from readable options to an order that devices obey."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.package_request import NotAfterOption, PersonOption, SshKeyOption
from cli.context import board_of, now, open_store, repository_of
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit, write_new_file
from pki.errors import InputRefused, PolicyViolation

if TYPE_CHECKING:
    from pki.values import PublicKey
    from signer.authority.model import Product
    from signer.authority.repository import AuthorityRepository
    from signer.device_objects.order_rules import LotKeyFacts, ProductTerms
    from signer.device_objects.work_order import StationQuota

PreparedArgument = Annotated[Path, typer.Argument(metavar="PREPARED", help="The order that `prepare` wrote.")]
RequestOption = Annotated[Path, typer.Option("--request", help="The signed request; REQUEST.sig stands beside it.")]
ApprovalOption = Annotated[
    list[Path] | None, typer.Option("--approval", help="A signed approval; repeat it for each.", show_default=False)
]


def prepare(
    context: typer.Context,
    product: ProductOption,
    lot: Annotated[str, typer.Option(help="The lot, as the factory image has it: 1 to 16 characters.")],
    quota: Annotated[int, typer.Option(help="How many devices in all.")],
    station: Annotated[
        list[str], typer.Option(metavar="PUBKEY=N", help="A station's public key (PEM) and its share; repeat it.")
    ],
    lot_key: Annotated[str, typer.Option(help="Label of the lot's key, as the key store has it.")],
    issuing_ca: Annotated[Path, typer.Option(help="The certificate of the lot's issuing CA.")],
    trust_bundle_min: Annotated[int, typer.Option(help="The oldest trust bundle that a device may be activated with.")],
    not_after: Annotated[str, typer.Option(help="When the order ends: 60d, or a time as 2027-03-31T00:00:00Z.")],
    out: OutputOption,
    not_before: Annotated[str | None, typer.Option(help="When it begins; by default now.", show_default=False)] = None,
    protection: Annotated[
        list[str] | None,
        typer.Option(
            help="What must be set on the board, beyond what it demands anyway: readout, readout-2, write-protect, "
            "brown-out, debug-closed; repeat it.",
            show_default=False,
        ),
    ] = None,
    hardware_revision: Annotated[
        str | None, typer.Option(metavar="MIN-MAX", help="By default the product's.", show_default=False)
    ] = None,
    inject_group_key: Annotated[bool, typer.Option("--inject-group-key", help="The group's agreement key.")] = False,
    inject_agreement_key: Annotated[
        bool, typer.Option("--inject-agreement-key", help="An agreement key made by the station's HSM.")
    ] = False,
    signer: Annotated[
        str | None,
        typer.Option(help="Label of the production key; by default the first that may sign.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an unsigned work order, after checking that it makes sense for product, keys and CA.

    Next: `request`, `approve` and `sign`; in development `issue`.
    """
    from cli.cert_files import read_certificate
    from pki.x509_parse import certificate_public_key, parse_certificate
    from signer.device_objects.common import Injection
    from signer.device_objects.order_rules import protection_of, require_sensible
    from signer.device_objects.work_order import WorkOrder

    when = now()
    repository = repository_of(context)
    config = repository.product(product)
    terms = product_terms(repository, config)
    key = _lot_key(repository, lot_key)
    ca = read_certificate(issuing_ca)
    revisions = _revisions(hardware_revision, config)
    inject = Injection(0)
    inject |= Injection.GROUP_KEY if inject_group_key else Injection(0)
    inject |= Injection.AGREEMENT_KEY if inject_agreement_key else Injection(0)
    order = WorkOrder(
        order_id=uuid.uuid4().bytes,
        product_id=config.id_bytes,
        lot=lot,
        quota=quota,
        trust_bundle_version_min=trust_bundle_min,
        not_before=int((when if not_before is None else _end(not_before, when)).timestamp()),
        not_after=int(_end(not_after, when).timestamp()),
        protection_required=protection_of(protection or ()) | terms.protection_required,
        hardware_revision_min=revisions[0],
        hardware_revision_max=revisions[1],
        lot_public_key=key.public_key,
        issuing_ca=certificate_public_key(parse_certificate(ca)).spki_sha256,
        stations=_stations(station),
        signer_key_id=signer_of(repository, config, "production", signer, when).key_id,
        inject=inject,
        group_public_key=terms.group_public_key if inject_group_key else None,
    )
    require_sensible(order, terms, key, ca, when)
    write_new_file(out, order.prepared())
    from cli.commands.workorder_read import order_fields, order_lines

    text = "\n".join([f"wrote {out}, not signed yet", *order_lines(order)])
    emit({"file": str(out), "order": order_fields(order)}, as_json, text)


def request(
    context: typer.Context,
    prepared: PreparedArgument,
    person: PersonOption,
    ssh_key: SshKeyOption,
    out: OutputOption,
    not_after: NotAfterOption = "7d",
    as_json: JsonOption = False,
) -> None:
    """Ask for the signature of exactly this work order: write a request, signed with your SSH key."""
    from cli.object_requests import ask
    from signer.service.object_kinds import WorkOrderReader

    ask(context, WorkOrderReader().prepared([prepared]), person, ssh_key, out, not_after, as_json)


def sign(
    context: typer.Context,
    prepared: PreparedArgument,
    request: RequestOption,
    out: OutputOption,
    approvals: ApprovalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a work order signed that was asked for and approved. The same call again gives the same file."""
    from cli.object_requests import hand_out
    from cli.object_requests import sign as sign_object

    hand_out(sign_object(context, "work-order", request, approvals or (), [prepared]), out, as_json)


def issue(context: typer.Context, prepared: PreparedArgument, out: OutputOption, as_json: JsonOption = False) -> None:
    """Sign a work order at once, without request and approvals: development only."""
    from cli.object_requests import issue as issue_object
    from signer.service.object_kinds import WorkOrderReader

    reader = WorkOrderReader()
    issue_object(context, reader.prepared([prepared]), reader.accepted, out, as_json)


# What they share


def product_terms(repository: AuthorityRepository, product: Product) -> ProductTerms:
    """What orders are held against. Raises ConfigurationError, KeyStoreError."""
    from cli.trust_bundle_content import revoked_key_ids
    from signer.authority.public_key_files import read_public_key
    from signer.device_objects.common import Protection
    from signer.device_objects.order_rules import ProductTerms

    group = product.encryption.group_public_key
    with open_store(repository) as store:
        revoked = revoked_key_ids(product, store)
    return ProductTerms(
        name=product.name,
        product_id=product.id_bytes,
        hardware_revision_min=product.hardware_revision_min,
        hardware_revision_max=product.hardware_revision_max,
        protection_required=Protection(int(board_of(repository, product.board).protection_required)),
        revoked=revoked,
        group_public_key=None if group is None else read_public_key(repository.resolve(group)),
    )


def signer_of(
    repository: AuthorityRepository, product: Product, role_name: str, label: str | None, when: datetime
) -> PublicKey:
    """The product's key of a role that is to sign: the one named, else the first that may sign now.

    No token is opened. Raises InputRefused for a label that the product does not name, PolicyViolation KS-….
    """
    from cli.context import require_may_sign
    from pki.roles import Role

    role = Role(role_name)
    configs = [config for config in product.keys.of_role(role) if label in {None, config.label}]
    if not configs:
        asked = "" if label is None else f" {label!r}"
        raise InputRefused(f"product {product.name!r} has no {role} key{asked} in its file; add it under [keys]")
    refusal: PolicyViolation | None = None
    for config in configs:
        try:
            return require_may_sign(repository, config.label, role, product.name, when).public_key
        except PolicyViolation as violation:
            refusal = refusal or violation
    raise refusal if refusal is not None else InputRefused(f"no {role} key of {product.name!r} may sign now")


def _lot_key(repository: AuthorityRepository, label: str) -> LotKeyFacts:
    from signer.device_objects.order_rules import LotKeyFacts

    with open_store(repository) as store:
        record = store.key(label)
    if record.public_key is None:
        raise InputRefused(f"key {label} is no key pair; name the lot's key")
    return LotKeyFacts(
        label=record.label,
        role=record.role,
        product=record.product,
        state=record.state,
        not_after=record.not_after,
        public_key=record.public_key,
    )


def _stations(texts: list[str]) -> tuple[StationQuota, ...]:
    from signer.authority.public_key_files import read_public_key
    from signer.device_objects.work_order import StationQuota

    found = []
    for text in texts:
        path, separator, share = text.rpartition("=")
        if not separator or not share.isascii() or not share.isdigit():
            raise InputRefused(
                f"--station {text[:60]!r}: give the file of its public key and its share, as st1.pem=100"
            )
        found.append(StationQuota(read_public_key(Path(path)).spki_sha256, int(share)))
    return tuple(sorted(found, key=lambda station: station.fingerprint))


def _revisions(text: str | None, product: Product) -> tuple[int, int]:
    if text is None:
        return product.hardware_revision_min, product.hardware_revision_max
    lowest, _, highest = text.partition("-")
    if not (lowest.isascii() and lowest.isdigit() and (highest or lowest).isascii() and (highest or lowest).isdigit()):
        raise InputRefused(f"--hardware-revision {text[:40]!r}: give one number, or two as 1-3")
    return int(lowest), int(highest or lowest)


def _end(text: str, when: datetime) -> datetime:
    from cli.signed_files import end_of_validity

    return end_of_validity(text, when)
