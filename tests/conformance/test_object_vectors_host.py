"""Vectors of signed objects: what hosts read and write, each side of the house, and openssl as a third.

Challenges, receipts and statuses are read by `rpc`; work orders, activations, service orders and grants are written and
read by `signer`.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import FormatError, SignatureInvalid, StrongroomError, WrongTarget
from pki.values import PublicKey, Signature
from rpc.objects.challenge import Challenge
from rpc.objects.receipt import Receipt
from rpc.objects.signed_status import SignedStatus
from signer.device_objects.activation import Activation, InjectedAgreementKey, InjectedKey, parse_activation
from signer.device_objects.common import Injection, Protection
from signer.device_objects.service_order import ServiceAction, ServiceOrder, parse_service_order
from signer.device_objects.work_order import StationQuota, WorkOrder, parse_work_order
from signer.grants.batch import parse_batch
from signer.grants.file import GrantFile
from signer.grants.lookup import grant_of
from tests.conformance.test_openssl_vectors import pem
from tests.conformance.vectors import Entry, content, entries, name_of, named, worthless_keys
from tests.vectors.generator.p256 import der_signature

ORDER_SIZE_BYTES = 640
READ_BY_HOSTS = [entry for entry in entries("objects") if entry["kind"] in {"challenge", "receipt", "signed-status"}]
WRONG_SHAPE = [entry for entry in entries("objects") if entry["expected"]["stage"] == "shape"]


def taken(kind: str) -> list[Entry]:
    return [entry for entry in entries("objects") if entry["kind"] == kind and "fields" in entry["expected"]]


def shapes(kind: str) -> list[Entry]:
    return [entry for entry in WRONG_SHAPE if entry["kind"] == kind]


def public_key(name: str) -> PublicKey:
    return PublicKey(bytes.fromhex(worthless_keys()[name]["public_key"]))


# --- what devices say ---


def read(entry: Entry) -> Challenge | Receipt | SignedStatus:
    """Parse and verify as a host does that knows what `given` says."""
    data, given = content(entry["file"]), entry["given"]
    if entry["kind"] == "challenge":
        challenge = Challenge.parse(data)
        challenge.verify(ec.derive_private_key(int(given["host_private_key"], 16), ec.SECP256R1()))
        return challenge
    identity = PublicKey(bytes.fromhex(given["identity_public_key"]))
    if entry["kind"] == "receipt":
        receipt = Receipt.parse(data)
        receipt.verify(identity)
        return receipt
    status = SignedStatus.parse(data)
    status.verify(identity, bytes.fromhex(given["nonce"]))
    return status


# The error that a host raises for each result, and what its message says (the rule of docs/spec/protocol.md).
ERRORS: dict[str, tuple[type[StrongroomError], str]] = {
    "MALFORMED": (FormatError, "LK-11"),
    "SIGNATURE_INVALID": (SignatureInvalid, "LK-12"),
    "WRONG_NONCE": (WrongTarget, "LK-13"),
    "WRONG_EPHEMERAL": (WrongTarget, "LK-13"),
    "AGREEMENT_PROOF": (SignatureInvalid, "LK-14"),
}
# It names a key that is not the one on record: the host says that, before it verifies anything under either.
NAMES_ANOTHER_KEY = {"receipt-signature-self-named"}


@pytest.mark.parametrize("entry", READ_BY_HOSTS, ids=name_of)
def test_a_host_reads_or_refuses_what_devices_say(entry: Entry) -> None:
    code = entry["expected"]["code"]
    if code == "OK":
        said = read(entry)
        assert said.digest.value.hex() == entry["expected"]["fields"]["digest"]
        for name, value in entry["expected"]["fields"].items():
            if name not in {"digest", "flags", "agreement_proof"}:
                assert shown(name, getattr(said, name)) == value, name
        return
    error, rule = (WrongTarget, "LK-13") if entry["name"] in NAMES_ANOTHER_KEY else ERRORS[code]
    with pytest.raises(error, match=rule):
        read(entry)


def shown(name: str, value: Any) -> Any:
    """A field as `objects.json` has it."""
    if isinstance(value, str):
        return value.encode("ascii").ljust({"lot": 16}.get(name, 32), b"\0").hex()
    if name == "floors":
        return b"".join(number.to_bytes(4, "little") for number in value).hex()
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else int(value)


def test_flags_are_told_apart() -> None:
    challenge = read(named("objects", "challenge-factory-test"))
    assert isinstance(challenge, Challenge)
    assert (challenge.is_simulation, challenge.has_factory_test) == (True, True)
    status = read(named("objects", "signed-status-service-pending"))
    assert isinstance(status, SignedStatus)
    assert (status.is_simulation, status.is_service_pending) == (True, True)


# --- what hosts write ---


def text(value: str) -> str:
    return bytes.fromhex(value).rstrip(b"\0").decode("ascii")


def octets(fields: Entry, *names: str) -> dict[str, Any]:
    return {name: bytes.fromhex(fields[name]) for name in names}


def work_order(fields: Entry) -> WorkOrder:
    stations = bytes.fromhex(fields["stations"])
    count, group = fields["station_count"], fields.get("group_public_key")
    numbers = (
        *("quota", "trust_bundle_version_min", "not_before", "not_after"),
        *("hardware_revision_min", "hardware_revision_max"),
    )
    return WorkOrder(
        **octets(fields, "order_id", "product_id", "issuing_ca", "signer_key_id"),
        **{name: fields[name] for name in numbers},
        lot=text(fields["lot"]),
        protection_required=Protection(fields["protection_required"]),
        lot_public_key=PublicKey(bytes.fromhex(fields["lot_public_key"])),
        stations=tuple(
            StationQuota(stations[at : at + 32], int.from_bytes(stations[at + 32 : at + 36], "little"))
            for at in range(0, 36 * count, 36)
        ),
        inject=Injection(fields.get("inject", 0)),
        group_public_key=PublicKey(bytes.fromhex(group)) if group else None,
    )


def injected_key(entry: bytes) -> InjectedKey:
    size_bytes = int.from_bytes(entry[64:66], "little")
    return InjectedKey(PublicKey(entry[:64]), entry[72 : 72 + size_bytes])


def activation(fields: Entry) -> Activation:
    names = (
        *("uid", "nonce", "order_digest", "station"),
        *("identity_key_digest", "agreement_key_digest", "certificate_digest"),
    )
    group, agreement = (bytes.fromhex(fields.get(name, "")) for name in ("group_key", "agreement_key"))
    own = InjectedAgreementKey(PublicKey(agreement[:64]), injected_key(agreement[64:])) if agreement else None
    return Activation(
        **octets(fields, *names),
        sequence=fields["sequence"],
        trust_bundle_version=fields["trust_bundle_version"],
        serial=text(fields["serial"]),
        group_key=injected_key(group) if group else None,
        agreement_key=own,
    )


@pytest.mark.parametrize("entry", taken("activation"), ids=name_of)
def test_work_order_and_activation_are_written_and_read(entry: Entry) -> None:
    data, fields = content(entry["file"]), entry["expected"]["fields"]
    raw_order, raw_activation = data[:ORDER_SIZE_BYTES], data[ORDER_SIZE_BYTES:]
    order, made = work_order(fields["work_order"]), activation(fields["activation"])
    assert order.encode_unsigned() == raw_order[:-64]
    assert made.encode_unsigned() == raw_activation[:-64]
    assert order.signed(Signature(raw_order[-64:])) + made.signed(Signature(raw_activation[-64:])) == data

    read_order, read_activation = parse_work_order(raw_order), parse_activation(raw_activation)
    assert (read_order.order, read_activation.activation) == (order, made)
    assert read_order.digest.value.hex() == fields["work_order"]["digest"]
    assert read_activation.digest.value.hex() == fields["activation"]["digest"]
    read_order.verify(public_key("production-1"))
    read_activation.verify(order.lot_public_key)


@pytest.mark.parametrize("entry", [entry for entry in shapes("activation") if "given" in entry], ids=name_of)
def test_the_reader_refuses_what_a_device_refuses_for_its_shape(entry: Entry) -> None:
    data, of_order = content(entry["file"]), entry["given"]["part"] == "work order"
    parse, part = (parse_work_order, slice(640)) if of_order else (parse_activation, slice(640, None))
    with pytest.raises(FormatError):
        parse(data[part])


FORGED_ORDERS = [
    entry
    for entry in entries("objects")
    if entry["name"].startswith("activation-order-signature-") or entry["name"] == "activation-order-changed"
]


@pytest.mark.parametrize("entry", FORGED_ORDERS, ids=name_of)
def test_a_forged_order_is_refused_by_hosts_too(entry: Entry) -> None:
    with pytest.raises((SignatureInvalid, FormatError)):
        parse_work_order(content(entry["file"])[:ORDER_SIZE_BYTES]).verify(public_key("production-1"))


@pytest.mark.parametrize("entry", taken("service-order"), ids=name_of)
def test_service_orders_are_written_and_read(entry: Entry) -> None:
    data, fields = content(entry["file"]), entry["expected"]["fields"]
    floors = bytes.fromhex(fields.get("floors", "00" * 12))
    order = ServiceOrder(
        action=ServiceAction(fields["action"]),
        **octets(fields, "uid", "nonce", "product_id", "signer_key_id"),
        lot=text(fields.get("lot", "")),
        hardware_revision=fields.get("hardware_revision", 0),
        floors=(
            int.from_bytes(floors[:4], "little"),
            int.from_bytes(floors[4:8], "little"),
            int.from_bytes(floors[8:], "little"),
        ),
    )
    assert order.encode_unsigned() == data[:-64]
    parsed = parse_service_order(data)
    assert parsed.order == order
    assert parsed.digest.value.hex() == fields["digest"]
    parsed.verify(public_key("service-1"))


@pytest.mark.parametrize("entry", shapes("service-order"), ids=name_of)
def test_the_reader_refuses_service_orders_for_their_shape(entry: Entry) -> None:
    with pytest.raises(FormatError):
        parse_service_order(content(entry["file"]))


# --- grants ---


@pytest.mark.parametrize("entry", taken("grant"), ids=name_of)
def test_a_file_of_grants_is_read_and_gives_the_device_its_grant(entry: Entry, tmp_path: Path) -> None:
    grant, fields = content(entry["file"]), entry["expected"]["fields"]
    unsigned = bytes.fromhex(fields["file_without_signature_and_trailer"])
    whole = unsigned[:192] + grant[192:256] + unsigned[256:]
    path = tmp_path / "grants.srg"
    path.write_bytes(whole + hashlib.sha256(whole).digest())
    uid = bytes.fromhex(named("devices", entry["device"])["uid"])
    assert grant_of(path, uid, public_key("grant-1")) == grant
    with GrantFile(path) as file:
        leaves = [file.leaf(index) for index in range(file.signed_batch.batch.tree_size)]
    assert [leaf.hex() for leaf in leaves] == fields["leaves"]
    assert parse_batch(grant[:256]).batch.root.hex() == fields["root"]


# --- openssl ---


OPENSSL_CASES = (
    ("activation-plain", slice(0, 640), "SR-order-v1", "production-1"),
    ("activation-plain", slice(640, 1504), "SR-activate-v1", "lot-1"),
    ("service-action-3-on-without-state", slice(0, 256), "SR-service-v1", "service-1"),
    ("grant-of-8-at-3", slice(0, 256), "SR-grant-v1", "grant-1"),
    ("challenge-of-locked-with-keys", slice(0, 512), "SR-challenge-v1", "device-1-identity"),
    ("receipt-operational", slice(0, 320), "SR-receipt-v1", "device-1-identity"),
    ("signed-status-in-update-mode", slice(0, 576), "SR-status-v1", "device-1-identity"),
)


def verified_by_openssl(data: bytes, context: str, signer: str, folder: Path) -> str:
    (folder / "signer.pem").write_text(pem(signer))
    (folder / "signed.bin").write_bytes(context.encode().ljust(16, b"\0") + data[:-64])
    (folder / "signature.der").write_bytes(der_signature(data[-64:]))
    command = ["openssl", "dgst", "-sha256", "-verify", "signer.pem", "-signature", "signature.der", "signed.bin"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.parametrize(("name", "part", "context", "signer"), OPENSSL_CASES)
def test_openssl_verifies_every_kind_of_object(
    name: str, part: slice, context: str, signer: str, tmp_path: Path
) -> None:
    data = content(named("objects", name)["file"])[part]
    assert verified_by_openssl(data, context, signer, tmp_path) == "Verified OK"
    changed = data[:8] + bytes((data[8] ^ 1,)) + data[9:]
    assert verified_by_openssl(changed, context, signer, tmp_path) == "Verification failure"
