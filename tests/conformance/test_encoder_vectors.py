"""The signer's encoders write, from the inputs that a vector names, the bytes that the vectors' own generator wrote.

What they would draw at random is given to them: salt, content key, ephemeral key, and the nonces of RFC 6979, which
make whole files comparable, signatures and trailer included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from pki.roles import DEVICE_ROLES
from pki.values import Digest, PublicKey, Scheme, Signature
from signer.packages.build import build_package
from signer.packages.encryption import EphemeralKey, PackagingMeans, software_ephemeral_key
from signer.packages.firmware_input import FirmwareFormat, open_firmware
from signer.packages.image_parts import ImageLimits
from signer.packages.prepare import prepare_package, prepared_digest
from signer.packages.sign import sign_package
from signer.packages.terms import (
    ImageVersion,
    PackageRequest,
    PackageTerms,
    PackageType,
    RecipientMode,
    Target,
)
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.encoding import (
    BundleSignature,
    RootSet,
    assemble,
    bundle_digest,
    unsigned_bundle,
)
from signer.trust_bundles.signing import add_signature
from tests.conformance.vectors import Entry, content, entries, hexes, name_of, worthless_keys
from tests.vectors.generator import p256

SIGNATURES = slice(448, 576)
# Vectors whose s, or whose trailer, is not the one that RFC 6979 and the format's writer give.
OTHER_FORM = {
    "app-signature-low-s",
    "app-signature-high-s",
    "app-trailer-of-512-bytes",
    "app-without-trailer",
    "grant-held",
}


@dataclass(frozen=True, slots=True)
class DeterministicKey:
    """A test key that signs with the generator's arithmetic and the nonces of RFC 6979."""

    private: int

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(p256.public_key(self.private))

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        assert scheme is Scheme.ECDSA_P256_SHA256_RAW
        return Signature(p256.sign(self.private, digest.value))


class Ledger:
    """Content keys used, for as long as a test lasts."""

    def __init__(self) -> None:
        self.fingerprints: set[bytes] = set()

    def claim(self, fingerprint: bytes) -> None:
        if fingerprint in self.fingerprints:
            raise PolicyViolation("CEK-REUSE", "used before")
        self.fingerprints.add(fingerprint)


class Vault:
    """Content keys kept for grants, for as long as a test lasts."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def keep(self, cek_commitment: bytes, content_key: bytes) -> None:
        self.kept[cek_commitment] = content_key


def signing_key(name: str) -> DeterministicKey:
    return DeterministicKey(int(worthless_keys()[name]["worthless_private_key"], 16))


def means_for(entry: Entry) -> PackagingMeans:
    """Gives the vector's salt first, then its content key, and its ephemeral key when asked for one."""
    made_from = entry["made_from"]
    drawn = [made_from["content_key"], entry["expected"]["fields"]["image_salt"]]

    def random(size_bytes: int) -> bytes:
        value = bytes.fromhex(drawn.pop())
        assert len(value) == size_bytes
        return value

    def new_ephemeral_key() -> EphemeralKey:
        # 48 random bytes r give the scalar r mod (n − 1) + 1.
        seed = int(made_from["ephemeral_private_key"], 16) - 1
        return software_ephemeral_key(lambda size_bytes: seed.to_bytes(size_bytes, "big"))

    return PackagingMeans(random, new_ephemeral_key, Ledger(), Vault())


def request_for(entry: Entry) -> PackageRequest:
    fields, made_from = entry["expected"]["fields"], entry["made_from"]
    recipient = made_from["recipient"]
    return PackageRequest(
        terms=PackageTerms(
            package_type=PackageType(fields["package_type"]),
            product_id=bytes.fromhex(fields["product_id"]),
            hardware_revision_min=fields["hardware_revision_min"],
            hardware_revision_max=fields["hardware_revision_max"],
            image_version=ImageVersion(*fields["image_version"]),
            security_version=fields["security_version"],
            bootloader_version_min=ImageVersion(*fields["bootloader_version_min"]),
            trust_bundle_version_min=fields["trust_bundle_version_min"],
            target=Target(fields["target"]),
            recipient_mode=RecipientMode(fields["recipient_mode"]),
            target_uid=bytes.fromhex(fields["target_uid"]),
        ),
        recipient=None if recipient is None else signing_key(recipient).public_key,
        signers=tuple(signing_key(name).public_key for name in made_from["signers"]),
    )


def image_for(entry: Entry, folder: Path) -> Path:
    path = folder / "image.bin"
    path.write_bytes(content(entry["made_from"]["image"])[: entry["expected"]["fields"]["image_size_bytes"]])
    return path


def limits_for(entry: Entry) -> ImageLimits:
    return ImageLimits(entry["expected"]["fields"]["load_address"], 1 << 20)


def sbom_for(entry: Entry, folder: Path) -> Path | None:
    sbom = bytes.fromhex(entry["made_from"]["sbom"])
    if not sbom:
        return None
    path = folder / "sbom.json"
    path.write_bytes(sbom)
    return path


ENCODABLE = [entry for entry in entries("packages") if "made_from" in entry]


@pytest.mark.parametrize("entry", ENCODABLE, ids=name_of)
def test_package_build_writes_the_vector(entry: Entry, tmp_path: Path) -> None:
    keys = [signing_key(name) for name in entry["made_from"]["signers"]]
    with open_firmware(image_for(entry, tmp_path), limits_for(entry), FirmwareFormat.BINARY) as firmware:
        written = build_package(
            request_for(entry),
            firmware,
            tmp_path / "built.srp",
            means_for(entry),
            keys,
            signing_key("compat"),
            sbom_for(entry, tmp_path),
        )
    built, vector = (tmp_path / "built.srp").read_bytes(), content(entry["file"])
    payload_end = 1024 + entry["expected"]["fields"]["payload_size_bytes"]
    assert written.tbs_digest.value.hex() == entry["expected"]["signed_digest"]
    assert built[: SIGNATURES.start] == vector[: SIGNATURES.start]
    assert built[SIGNATURES.stop : payload_end] == vector[SIGNATURES.stop : payload_end]
    # (r, s) and (r, n − s) are the same signature to every device.
    assert p256.with_low_s(built[448:512]) == p256.with_low_s(vector[448:512])
    if entry["name"] not in OTHER_FORM:
        assert built == vector


@pytest.mark.parametrize("entry", ENCODABLE, ids=name_of)
def test_package_prepare_and_sign_write_the_vector(entry: Entry, tmp_path: Path) -> None:
    prepared, signed = tmp_path / "prepared.srp", tmp_path / "signed.srp"
    with open_firmware(image_for(entry, tmp_path), limits_for(entry), FirmwareFormat.BINARY) as firmware:
        prepare_package(request_for(entry), firmware, prepared, means_for(entry), sbom_for(entry, tmp_path))
    vector = content(entry["file"])
    payload_end = 1024 + entry["expected"]["fields"]["payload_size_bytes"]
    assert prepared.read_bytes() == vector[: SIGNATURES.start] + bytes(128) + vector[SIGNATURES.stop : payload_end]
    assert prepared_digest(prepared).value.hex() == entry["expected"]["signed_digest"]
    sign_package(prepared, signed, [signing_key(name) for name in entry["made_from"]["signers"]], signing_key("compat"))
    if entry["name"] not in OTHER_FORM:
        assert signed.read_bytes() == vector


# Trust bundles

WITH_CONTENT = [entry for entry in entries("trust_bundles") if "content" in entry["expected"]]
# A root that is no point of the curve: devices need not look, the encoder does.
BUNDLES = [entry for entry in WITH_CONTENT if entry["name"] != "genesis-root-off-curve-unused"]


def bundle_content(entry: Entry) -> TrustBundleContent:
    """The content in the reverse of the wire's order: ordering is the encoder's work."""
    expected = entry["expected"]["content"]
    limits = [SecurityVersionLimits(*bounds) for bounds in expected["limits"]]
    return TrustBundleContent(
        product_id=bytes.fromhex(expected["product_id"]),
        version=expected["version"],
        previous_digest=bytes.fromhex(expected["previous_digest"]),
        root_threshold=expected["root_threshold"],
        roots=tuple(PublicKey(root) for root in reversed(hexes(expected["roots"]))),
        role_keys=tuple(
            RoleKey(DEVICE_ROLES[item["role"]], PublicKey(bytes.fromhex(item["public_key"])))
            for item in reversed(expected["role_keys"])
        ),
        revoked=tuple(
            RevokedKey(bytes.fromhex(item["key_id"]), bool(item["flags"])) for item in reversed(expected["revoked"])
        ),
        application_limits=limits[0],
        bootloader_limits=limits[1],
        factory_test_limits=limits[2],
    )


def bundle_signatures(entry: Entry) -> Iterator[BundleSignature]:
    """The signatures of the vector, last first."""
    listed = entry["expected"]["content"]["signatures"]
    for number in reversed(range(len(listed))):
        at = 1600 + 68 * number + 4
        signature = Signature(content(entry["file"])[at : at + 64])
        yield BundleSignature(RootSet(listed[number]["set"]), listed[number]["index"], signature)


@pytest.mark.parametrize("entry", BUNDLES, ids=name_of)
def test_bundle_encoder_writes_the_vector(entry: Entry) -> None:
    vector = content(entry["file"])
    described = bundle_content(entry)
    unsigned = unsigned_bundle(described)
    assert unsigned == vector[:1599] + bytes(2304 - 1599)
    assert bundle_digest(unsigned).value.hex() == entry["expected"]["digest"]
    assert assemble(described, list(bundle_signatures(entry))) == vector


@pytest.mark.parametrize(
    "entry",
    [entry for entry in BUNDLES if entry["offered_as"] == "genesis" and entry["name"] != "genesis-high-s"],
    ids=name_of,
)
def test_roots_sign_one_at_a_time(entry: Entry) -> None:
    by_public_key = {item["public_key"]: name for name, item in worthless_keys().items()}
    expected = entry["expected"]["content"]
    signers = [by_public_key[expected["roots"][item["index"]]] for item in expected["signatures"]]
    bundle = unsigned_bundle(bundle_content(entry))
    for name in reversed(signers):
        bundle = add_signature(bundle, signing_key(name))
    assert bundle == content(entry["file"])
