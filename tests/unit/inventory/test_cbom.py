"""The cryptography bill of materials: valid by CycloneDX's own schema, complete, and the same each time."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pki.key_states import KeyState
from pki.roles import Role
from signer.inventory.cbom import BomHeader, cbom_json
from signer.store.key_store import KeyStore
from tests.unit.store.stores import DAY, NOW, certificate_for, change, new_key, software_key

HEADER = BomHeader("Example Medical", "0.1.0", UUID("6f1f7e5c-3f5b-4d3e-9d6b-0d3c5a2b1e00"), NOW)


@pytest.fixture
def populated(store: KeyStore) -> KeyStore:
    """A key in every state, an AES key, and certificates of two signature algorithms."""
    paths: dict[KeyState, tuple[KeyState, ...]] = {
        KeyState.PRE_ACTIVATION: (),
        KeyState.ACTIVE: (KeyState.ACTIVE,),
        KeyState.SUSPENDED: (KeyState.ACTIVE, KeyState.SUSPENDED),
        KeyState.DEACTIVATED: (KeyState.ACTIVE, KeyState.DEACTIVATED),
        KeyState.COMPROMISED: (KeyState.COMPROMISED,),
        KeyState.DESTROYED: (KeyState.DESTROYED,),
    }
    for sequence, path in enumerate(paths.values(), start=1):
        private, public = software_key()
        key = store.register(new_key(sequence=sequence, key=public), change())
        digest = hashes.SHA384() if sequence == 2 else hashes.SHA256()
        if sequence <= 2:
            store.set_certificate(key.cka_id, certificate_for(private, digest=digest), change())
        for state in path:
            if state is KeyState.ACTIVE:
                store.activate(key.cka_id, NOW, NOW + 90 * DAY, change())
            else:
                store.change_state(key.cka_id, state, change())
    store.register(new_key(Role.PACKAGE_WRAP, None), change())
    return store


def components(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """What the document has of one kind of asset; of keys and their like, of one type."""
    found = []
    for component in document["components"]:
        properties = component["cryptoProperties"]
        material = properties.get("relatedCryptoMaterialProperties", {}).get("type")
        if kind in (properties["assetType"], material):
            found.append(component)
    return found


def test_it_is_valid_by_the_strict_schema(populated: KeyStore) -> None:
    text = cbom_json(populated.keys(), HEADER)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"active"', '"fresh"')) is not None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(cbom_json((), HEADER)) is None


def test_equal_input_gives_equal_bytes_in_whatever_order(populated: KeyStore) -> None:
    records = populated.keys()
    assert cbom_json(records, HEADER) == cbom_json(tuple(reversed(records)), HEADER)


def test_another_process_gives_the_same_bytes(populated: KeyStore, store_path: object) -> None:
    """Hash seeds and identifiers made up at run time would show here."""
    code = (
        "import sys; from datetime import datetime; from pathlib import Path; from uuid import UUID\n"
        "from signer.inventory.cbom import BomHeader, cbom_json; from signer.store.key_store import open_key_store\n"
        "header = BomHeader(sys.argv[2], sys.argv[3], UUID(sys.argv[4]), datetime.fromisoformat(sys.argv[5]))\n"
        "sys.stdout.write(cbom_json(open_key_store(Path(sys.argv[1])).keys(), header))\n"
    )
    arguments = [str(store_path), HEADER.authority, HEADER.program_version, str(HEADER.serial_number), NOW.isoformat()]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {cbom_json(populated.keys(), HEADER)}


def test_the_header_says_whose_and_when(populated: KeyStore) -> None:
    document = json.loads(cbom_json(populated.keys(), HEADER))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["serialNumber"] == "urn:uuid:6f1f7e5c-3f5b-4d3e-9d6b-0d3c5a2b1e00"
    assert document["metadata"]["timestamp"] == "2026-11-22T12:00:00.123456+00:00"
    assert document["metadata"]["component"]["name"] == "Example Medical"
    assert document["metadata"]["tools"]["components"] == [
        {"name": "strongroom", "type": "application", "version": "0.1.0"}
    ]


def test_every_key_is_there_with_its_state(populated: KeyStore) -> None:
    document = json.loads(cbom_json(populated.keys(), HEADER))
    keys = {component["name"]: component["cryptoProperties"] for component in components(document, "private-key")}
    recorded = populated.keys()
    records = [record for record in recorded if record.public_key is not None]
    assert len(keys) == len(records) == len(KeyState)
    for record in records:
        properties = keys[record.label]
        material = properties["relatedCryptoMaterialProperties"]
        assert properties["oid"] == "1.2.840.10045.4.3.2"
        assert (material["id"], material["state"], material["size"]) == (record.cka_id.hex(), record.state.value, 256)
        assert material["creationDate"] == "2026-11-22T12:00:00.123456+00:00"
        assert ("activationDate" in material) is (record.not_before is not None)
        assert "value" not in material
    (secret,) = components(document, "secret-key")
    assert secret["cryptoProperties"]["oid"] == "2.16.840.1.101.3.4.1.45"
    assert "value" not in secret["cryptoProperties"]["relatedCryptoMaterialProperties"]


def test_public_keys_are_the_recorded_ones(populated: KeyStore) -> None:
    document = json.loads(cbom_json(populated.keys(), HEADER))
    records = populated.keys()
    expected = {record.public_key.spki for record in records if record.public_key is not None}
    found = set()
    for component in components(document, "public-key"):
        der = base64.b64decode(component["cryptoProperties"]["relatedCryptoMaterialProperties"]["value"], validate=True)
        loaded = load_der_public_key(der)
        found.add(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert found == expected


def test_certificates_name_their_key_and_their_algorithm(populated: KeyStore) -> None:
    document = json.loads(cbom_json(populated.keys(), HEADER))
    by_reference = {component["bom-ref"]: component for component in document["components"]}
    certificates = components(document, "certificate")
    assert len(certificates) == 2
    records = populated.keys()
    recorded = {item.certificate.sha256.hex(): item.certificate for item in records if item.certificate is not None}
    algorithms = set()
    for component in certificates:
        record = recorded[component["hashes"][0]["content"]]
        properties = component["cryptoProperties"]["certificateProperties"]
        assert properties["subjectName"] == record.subject == "CN=Release key"
        assert properties["notValidAfter"] == record.not_after.isoformat()
        certificate = x509.load_der_x509_certificate(record.der)
        algorithm = by_reference[properties["signatureAlgorithmRef"]]["cryptoProperties"]
        assert algorithm["oid"] == certificate.signature_algorithm_oid.dotted_string
        algorithms.add(algorithm["oid"])
        public = by_reference[properties["subjectPublicKeyRef"]]["cryptoProperties"]
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert base64.b64decode(public["relatedCryptoMaterialProperties"]["value"]) == spki
    assert algorithms == {"1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3"}


def test_every_reference_leads_somewhere(populated: KeyStore) -> None:
    document = json.loads(cbom_json(populated.keys(), HEADER))
    references = {component["bom-ref"] for component in document["components"]} | {"authority"}
    for dependency in document["dependencies"]:
        assert dependency["ref"] in references
        assert set(dependency.get("dependsOn", [])) <= references
    assert {dependency["ref"] for dependency in document["dependencies"]} == references
