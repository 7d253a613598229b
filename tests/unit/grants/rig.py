"""Batches made by the signer from fake keys, and the same made by hand (tests/unit/reference/grants_by_hand.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pki.values import PublicKey, Signature
from signer.grants.batch import GrantBatch
from signer.grants.devices import device_list
from signer.grants.grantable import GrantablePackage, grantable_head
from signer.grants.making import EphemeralScalar, GrantOrder, SignBatch, make_grants, no_progress
from signer.new_file import NewFile
from tests.unit.reference import builders
from tests.unit.reference.builders import sha256
from tests.unit.reference.fake.keys import FakeKey, fake_key
from tests.unit.reference.grants_by_hand import GrantPlan, Recipient

PACKAGE_PLAN = builders.PackagePlan(target=builders.GRANT_REQUIRED, recipient_mode=builders.MODE_GRANT)
HEAD = builders.build_head(PACKAGE_PLAN)
BATCH_ID = b"fake batch id 16"
SIGNER = fake_key("grant")
SIGNER_KEY = PublicKey(SIGNER.public)


def package() -> GrantablePackage:
    return grantable_head(HEAD)


def random(size_bytes: int) -> bytes:
    """The same every time."""
    return (sha256(b"fake randomness") * 4)[:size_bytes]


def ephemeral_by_hand() -> FakeKey:
    """The pair that 48 bytes of `random` make (FIPS 186-5, A.2.1), as the other side's kind of key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    scalar = int.from_bytes(random(48), "big") % (order - 1) + 1
    numbers = ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()
    public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return replace(fake_key("ephemeral"), private=scalar.to_bytes(32, "big"), public=public)


def devices(count: int) -> tuple[Recipient, ...]:
    """Devices in ascending order of their UIDs, with gaps between them."""
    return tuple(
        Recipient(
            uid=bytes.fromhex(f"{7 * number + 3:024x}").ljust(16, b"\0"), agreement=fake_key(f"device {number % 50}")
        )
        for number in range(count)
    )


def write_list(path: Path, rows: Sequence[Recipient], line_end: str = "\n") -> Path:
    """The CSV file of these devices, not in order."""
    lines = [f"{one.uid[:12].hex()},{one.agreement.public.hex()}{line_end}" for one in rows]
    path.write_text(f"uid,agreement_public_key{line_end}" + "".join(lines[1::2] + lines[::2]), encoding="ascii")
    return path


def sign(batch: GrantBatch) -> Signature:
    return Signature(SIGNER.sign(batch.digest.value))


def make(folder: Path, count: int, workers: int = 1, signer: SignBatch = sign, name: str = "grants.srg") -> Path:
    """A file of grants for `devices(count)`."""
    listed = write_list(folder / f"{name}.csv", devices(count))
    order = GrantOrder(package(), BATCH_ID, SIGNER.key_id)
    out = folder / name
    with NewFile(out) as file, device_list(listed, folder) as found, EphemeralScalar(random) as ephemeral:
        make_grants(order, ephemeral, PACKAGE_PLAN.content_key, found, file, signer, workers, no_progress)
        file.publish()
    return out


def plan(count: int) -> GrantPlan:
    """What `make` makes, as it is made by hand."""
    return GrantPlan(
        recipients=devices(count),
        head_hash=sha256(HEAD),
        content_key=PACKAGE_PLAN.content_key,
        image_salt=PACKAGE_PLAN.image_salt,
        batch_id=BATCH_ID,
        ephemeral=ephemeral_by_hand(),
        signer=SIGNER,
    )
