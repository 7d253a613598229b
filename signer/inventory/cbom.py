"""The keys, certificates and algorithms as a cryptography bill of materials: CycloneDX 1.6, JSON.

Importing this costs what the CycloneDX library costs, so the command line imports it late.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.crypto import (
    AlgorithmProperties,
    CertificateProperties,
    CryptoAssetType,
    CryptoFunction,
    CryptoPrimitive,
    CryptoProperties,
    RelatedCryptoMaterialProperties,
    RelatedCryptoMaterialSecuredBy,
    RelatedCryptoMaterialState,
    RelatedCryptoMaterialType,
)
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion

from pki.key_specs import KeyAlgorithm
from pki.values import PublicKey
from pki.x509_parse import parse_certificate
from signer.store.values import CertificateRecord, KeyRecord

ECDSA_WITH_SHA256_OID = "1.2.840.10045.4.3.2"  # RFC 5758, section 3.2
AES256_WRAP_OID = "2.16.840.1.101.3.4.1.45"  # RFC 3565, section 2.3.2
P256_OID = "1.2.840.10045.3.1.7"  # RFC 5480, section 2.1.1.1
_KEY_SIZE_BITS = 256
_SECRET = {
    KeyAlgorithm.EC_P256: RelatedCryptoMaterialType.PRIVATE_KEY,
    KeyAlgorithm.AES_256: RelatedCryptoMaterialType.SECRET_KEY,
}
_OID = {KeyAlgorithm.EC_P256: ECDSA_WITH_SHA256_OID, KeyAlgorithm.AES_256: AES256_WRAP_OID}


@dataclass(frozen=True, slots=True)
class BomHeader:
    """What identifies one export: whose keys these are, this program's version, and what makes the export unique."""

    authority: str
    program_version: str
    serial_number: UUID
    now: datetime


def cbom_json(records: Iterable[KeyRecord], header: BomHeader) -> str:
    """The bill of materials; equal arguments give equal text. It has public data only."""
    root = Component(
        name=header.authority, type=ComponentType.APPLICATION, bom_ref="authority", description="Signing authority"
    )
    program = Component(name="strongroom", type=ComponentType.APPLICATION, version=header.program_version)
    metadata = BomMetaData(component=root, tools=ToolRepository(components=[program]), timestamp=header.now)
    bom = Bom(serial_number=header.serial_number, metadata=metadata)
    algorithms: dict[str, Component] = {}
    for record in records:
        for component, depends_on in _components_of(record, algorithms):
            bom.components.add(component)
            bom.register_dependency(component, depends_on)
            bom.register_dependency(root, [component])
    for algorithm in algorithms.values():
        bom.components.add(algorithm)
        bom.register_dependency(algorithm)
    bom.register_dependency(root)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def _components_of(
    record: KeyRecord, algorithms: dict[str, Component]
) -> Iterable[tuple[Component, tuple[Component, ...]]]:
    """The components of one key and what each depends on; the algorithms they name are added to `algorithms`."""
    algorithm = _algorithm(_OID[record.algorithm], algorithms)
    key = _secret_component(record, algorithm)
    if record.public_key is None:
        yield key, (algorithm,)
        return
    public = _public_component(record, record.public_key, algorithm)
    yield key, (algorithm, public)
    yield public, (algorithm,)
    if record.certificate is not None:
        certificate, signed_with = _certificate_component(record.certificate, public, algorithms)
        yield certificate, (public, signed_with)


def _secret_component(record: KeyRecord, algorithm: Component) -> Component:
    material = RelatedCryptoMaterialProperties(
        type=_SECRET[record.algorithm],
        id=record.cka_id.hex(),
        state=RelatedCryptoMaterialState(record.state.value),
        algorithm_ref=algorithm.bom_ref,
        creation_date=record.created_at,
        activation_date=record.not_before,
        expiration_date=record.not_after,
        size=_KEY_SIZE_BITS,
        secured_by=RelatedCryptoMaterialSecuredBy(mechanism="PKCS#11 token"),
    )
    about = {
        "strongroom:role": record.role.value,
        "strongroom:product": record.product,
        "strongroom:state-since": record.state_since.isoformat(),
        "strongroom:token-serial": record.token.serial,
        "strongroom:token-label": record.token.label,
    }
    return _material(f"key:{record.cka_id.hex()}", record.label, material, _OID[record.algorithm], about)


def _public_component(record: KeyRecord, public_key: PublicKey, algorithm: Component) -> Component:
    material = RelatedCryptoMaterialProperties(
        type=RelatedCryptoMaterialType.PUBLIC_KEY,
        id=public_key.spki_sha256.hex(),
        algorithm_ref=algorithm.bom_ref,
        size=_KEY_SIZE_BITS,
        format="SubjectPublicKeyInfo, DER, base64",
        value=base64.b64encode(public_key.spki).decode("ascii"),
    )
    about = {"strongroom:key-id": public_key.key_id.hex()}
    return _material(f"public-key:{record.cka_id.hex()}", f"{record.label} public key", material, P256_OID, about)


def _material(
    bom_ref: str, name: str, material: RelatedCryptoMaterialProperties, oid: str, about: Mapping[str, str | None]
) -> Component:
    return Component(
        name=name,
        type=ComponentType.CRYPTOGRAPHIC_ASSET,
        bom_ref=bom_ref,
        properties=[Property(name=key, value=value) for key, value in about.items() if value is not None],
        crypto_properties=CryptoProperties(
            asset_type=CryptoAssetType.RELATED_CRYPTO_MATERIAL,
            related_crypto_material_properties=material,
            oid=oid,
        ),
    )


def _certificate_component(
    record: CertificateRecord, public: Component, algorithms: dict[str, Component]
) -> tuple[Component, Component]:
    """The certificate, and the algorithm that its issuer signed it with."""
    signed_with = _algorithm(parse_certificate(record.der).signature_algorithm_oid.dotted_string, algorithms)
    component = Component(
        name=record.subject or f"certificate {record.serial_number}",
        type=ComponentType.CRYPTOGRAPHIC_ASSET,
        bom_ref=f"certificate:{record.sha256.hex()}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=record.sha256.hex())],
        properties=[Property(name="strongroom:certificate-serial-number", value=record.serial_number)],
        crypto_properties=CryptoProperties(
            asset_type=CryptoAssetType.CERTIFICATE,
            certificate_properties=CertificateProperties(
                subject_name=record.subject,
                issuer_name=record.issuer,
                not_valid_before=record.not_before,
                not_valid_after=record.not_after,
                signature_algorithm_ref=signed_with.bom_ref,
                subject_public_key_ref=public.bom_ref,
                certificate_format="X.509",
            ),
        ),
    )
    return component, signed_with


def _algorithm(oid: str, algorithms: dict[str, Component]) -> Component:
    """The component of an algorithm, one per object identifier."""
    if oid not in algorithms:
        name, properties = _ALGORITHMS.get(oid, (f"signature algorithm {oid}", _UNKNOWN_SIGNATURE))
        algorithms[oid] = Component(
            name=name,
            type=ComponentType.CRYPTOGRAPHIC_ASSET,
            bom_ref=BomRef(f"algorithm:{oid}"),
            crypto_properties=CryptoProperties(
                asset_type=CryptoAssetType.ALGORITHM, algorithm_properties=properties, oid=oid
            ),
        )
    return algorithms[oid]


_UNKNOWN_SIGNATURE = AlgorithmProperties(
    primitive=CryptoPrimitive.SIGNATURE, crypto_functions=[CryptoFunction.SIGN, CryptoFunction.VERIFY]
)
_ALGORITHMS = {
    ECDSA_WITH_SHA256_OID: (
        "ECDSA P-256 with SHA-256",
        AlgorithmProperties(
            primitive=CryptoPrimitive.SIGNATURE,
            parameter_set_identifier="P-256",
            curve="nist/P-256",
            crypto_functions=[CryptoFunction.KEYGEN, CryptoFunction.SIGN, CryptoFunction.VERIFY],
            classical_security_level=128,
            nist_quantum_security_level=0,
        ),
    ),
    AES256_WRAP_OID: (
        "AES-256 key wrap",
        AlgorithmProperties(
            primitive=CryptoPrimitive.KEY_WRAP,
            parameter_set_identifier="256",
            crypto_functions=[CryptoFunction.KEYGEN, CryptoFunction.ENCRYPT, CryptoFunction.DECRYPT],
            classical_security_level=256,
            nist_quantum_security_level=5,
        ),
    ),
}
