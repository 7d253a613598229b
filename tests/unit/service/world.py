"""A working signing service in memory and a temporary folder: software keys, the memory log, the shipped policies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pki.errors import PolicyViolation
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme, Signature
from policies.allowed_signers import parse_allowed_signers
from policies.approval import APPROVAL_NAMESPACE, Approval
from policies.authentication import SignedStatement
from policies.people import People, Person
from policies.policy_set import PolicySet
from policies.request import REQUEST_NAMESPACE, SigningRequest
from signer.packages.encryption import PackagingMeans
from signer.packages.prepare import PackageWritten, prepare_package
from signer.packages.terms import ImageVersion, PackageType
from signer.service.comparison import target_text
from signer.service.facts import Past
from signer.service.releases import ReleaseHistory
from signer.service.service import SigningService
from signer.service.shelf import Shelf
from signer.service.values import Reviewed, SignedRelease, SignOrder, Verdict
from tests.unit.log.memory_log import MemoryLog
from tests.unit.packages.builders import (
    APP_KEY,
    BOOT_KEYS,
    COMPAT_KEY,
    PRODUCT_ID,
    PRODUCTION_KEY,
    open_binary,
    random_means,
    request,
)
from tests.unit.packages.fake.software_keys import SoftwareKey
from tests.unit.service.fake.ssh_people import SshPerson

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
PRODUCT = "pump-x2"
KIND_OF_TYPE = {
    PackageType.APPLICATION: "application",
    PackageType.BOOTLOADER: "bootloader",
    PackageType.FACTORY_TEST: "factory-test",
}

ADA, BEN, CLEO, DAN = (SshPerson(name) for name in ("ada", "ben", "cleo", "dan"))
PEOPLE = People(
    format=1,
    people=[
        Person(id="ada", name="Ada", roles=["requester"]),
        Person(id="ben", name="Ben", roles=["approver"], groups=["quality"]),
        Person(id="cleo", name="Cleo", roles=["approver"], groups=["security"]),
        Person(id="dan", name="Dan", roles=["approver", "requester"], groups=["quality"]),
    ],
)
ALLOWED_SIGNERS = "".join(person.allowed() for person in (ADA, BEN, CLEO, DAN))


def shipped_policies() -> dict[str, bytes]:
    folder = ROOT / "policies" / "defaults"
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".cedar", ".cedarschema", ".toml"}
    }


@dataclass
class LabelledKey:
    """A `ReleaseKey` in software."""

    label: str
    key: SoftwareKey
    found: int = 0

    @property
    def public_key(self) -> PublicKey:
        return self.key.public_key

    def at_hand(self) -> object:
        self.found += 1
        return self

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        return self.key.sign(digest, scheme)


@dataclass
class MemoryKeys:
    """`ReleaseKeys` of one product. `suspended` are labels that the key store would refuse."""

    suspended: set[str] = field(default_factory=set)
    release: Mapping[Role, list[LabelledKey]] = field(
        default_factory=lambda: {
            Role.APPLICATION_RELEASE: [LabelledKey(f"sr:application-release:{PRODUCT}:0001", APP_KEY)],
            Role.BOOTLOADER_RELEASE: [
                LabelledKey(f"sr:bootloader-release:{PRODUCT}:000{number}", key)
                for number, key in enumerate(BOOT_KEYS, start=1)
            ],
            Role.PRODUCTION: [LabelledKey(f"sr:production:{PRODUCT}:0001", PRODUCTION_KEY)],
        }
    )
    compat_key: LabelledKey = field(default_factory=lambda: LabelledKey(f"sr:compat:{PRODUCT}:0001", COMPAT_KEY))

    def of_role(self, product: str, role: Role) -> tuple[Sequence[LabelledKey], Sequence[PolicyViolation]]:
        keys = self.release[role]
        refused = [
            PolicyViolation("KS-02", f"key {key.label} is suspended") for key in keys if key.label in self.suspended
        ]
        return [key for key in keys if key.label not in self.suspended], refused

    def compat(self, product: str) -> LabelledKey:
        return self.compat_key


@dataclass
class WillingJudge:
    """Accepts until told otherwise; remembers what it was shown."""

    accepts: bool = True
    shown: list[bytes] = field(default_factory=list)

    def judge(self, product: str, package: Path) -> Verdict:
        self.shown.append(hashlib.sha256(package.read_bytes()).digest())
        return Verdict(self.accepts, f"a new device of product {product}", "" if self.accepts else "ABOVE_MAXIMUM")


@dataclass
class ServiceWorld:
    """Everything a service needs, each part to be exchanged by a test."""

    folder: Path
    environment: str = "development"
    log: MemoryLog = field(default_factory=MemoryLog)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    judge: Any = field(default_factory=WillingJudge)
    policy_set: PolicySet = field(default_factory=lambda: PolicySet.of(shipped_policies()))
    allowed_signers: str = ALLOWED_SIGNERS
    time: datetime = NOW
    lock_wait_seconds: float = 5.0

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.folder / "signed", self.lock_wait_seconds)

    @property
    def history(self) -> ReleaseHistory:
        return ReleaseHistory(self.folder / "releases")

    def clock(self) -> datetime:
        return self.time

    def service(self, **changes: Any) -> SigningService:
        values: dict[str, Any] = {
            "reviewed": self.reviewed(),
            "keys": self.keys,
            "log": self.log,
            "judge": self.judge,
            "shelf": self.shelf,
            "past": Past(self.log, self.history, [PRODUCT]),
            "clock": self.clock,
            "actor": "builder",
        }
        return SigningService(**values | changes)

    def reviewed(self) -> Reviewed:
        return Reviewed(
            environment=self.environment,  # type: ignore[arg-type]
            policy_set=self.policy_set,
            people=PEOPLE,
            allowed_signers=self.allowed_signers,
            signers=parse_allowed_signers(self.allowed_signers),
            product_id={PRODUCT: PRODUCT_ID}.get,
        )

    def prepare(
        self, name: str = "app", sbom: Path | None = None, means: PackagingMeans | None = None, **terms: Any
    ) -> PackageWritten:
        """A prepared package of an image that follows from its name; group mode unless the terms say otherwise."""
        values: dict[str, Any] = {"image_version": ImageVersion(1, 0, 0), "security_version": 1} | terms
        image = self.folder / f"{name}.bin"
        image.write_bytes((name.encode() * 10_000)[:9000])
        with open_binary(image) as firmware:
            return prepare_package(
                request(**values), firmware, self.folder / f"{name}.prepared.srp", means or random_means(), sbom
            )

    def request(self, package: PackageWritten, **changes: Any) -> SigningRequest:
        manifest, terms = package.manifest, package.manifest.terms
        values: dict[str, Any] = {
            "environment": self.environment,
            "head_digest": package.tbs_digest.value,
            "image_digest": manifest.image_digest,
            "kind": KIND_OF_TYPE[terms.package_type],
            "product": PRODUCT,
            "product_id": terms.product_id.hex(),
            "version": str(terms.image_version),
            "security_version": terms.security_version,
            "target": target_text(terms),
            "key_ids": manifest.signer_key_ids,
            "sbom_digest": None,
            "test_evidence_digest": None,
            "not_after": NOW + timedelta(days=7),
            "policy_digest": self.policy_set.digest,
            "requester": "ada",
        }
        return SigningRequest(**values | changes)

    def order(
        self, package: PackageWritten, approvers: Sequence[SshPerson] = (), sbom: Path | None = None, **changes: Any
    ) -> SignOrder:
        """A request for the package, signed by Ada, and an approval of each approver."""
        asked = self.request(package, **changes)
        return SignOrder(
            request=signed_request(asked),
            approvals=tuple(signed_approval(asked, person) for person in approvers),
            prepared=package.path,
            sbom=sbom,
        )

    def sign(self, order: SignOrder, **changes: Any) -> SignedRelease:
        return self.service(**changes).sign(order)


def signed_request(
    asked: SigningRequest, person: SshPerson = ADA, namespace: str = REQUEST_NAMESPACE
) -> SignedStatement:
    statement = asked.encode()
    return SignedStatement(statement, person.sign(statement, namespace))


def signed_approval(
    asked: SigningRequest, person: SshPerson, namespace: str = APPROVAL_NAMESPACE, **changes: Any
) -> SignedStatement:
    values: dict[str, Any] = {
        "request_digest": asked.digest,
        "approver": person.name,
        "not_after": NOW + timedelta(days=7),
    }
    statement = Approval(**values | changes).encode()
    return SignedStatement(statement, person.sign(statement, namespace))


def signature_count(keys: MemoryKeys) -> int:
    """How often any release key has signed since the process began: compare before and after."""
    return sum(key.key.signature_count for found in keys.release.values() for key in found)


def refused(world: ServiceWorld, order: SignOrder, rule_id: str) -> None:
    """The order must be refused under this rule, logged, with no key asked and nothing on the shelf."""
    before = signature_count(world.keys)
    found = rule_of_refusal(world, order)
    assert found == rule_id
    assert signature_count(world.keys) == before
    assert world.log.kinds()[-1] == "request-refused"
    assert world.log.entries[-1].event.details["rule_id"] == rule_id
    assert not list((world.folder / "signed").glob("*.srp"))


def rule_of_refusal(world: ServiceWorld, order: SignOrder) -> str:
    from pki.errors import StrongroomError
    from signer.service.events import rule_of

    try:
        world.sign(order)
    except StrongroomError as refusal:
        return rule_of(refusal)
    raise AssertionError("it was not refused")
