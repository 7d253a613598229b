"""What stands between a request and the HSM: three SSH signatures verified, two approvals counted, policies asked.

Keys and signatures are made by `ssh-keygen`, as people make them; nothing of the check is left out or kept between
rounds but what the signing service keeps: the parsed policy set, people and allowed signers.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.figures import Bound, Figure
from bench.interleaved import timed
from policies.allowed_signers import AllowedSigners, parse_allowed_signers
from policies.approval import APPROVAL_NAMESPACE, Approval
from policies.authentication import SignedStatement, authenticate_approvals, authenticate_request
from policies.evaluation import decide
from policies.facts import KeyFact, LastRelease, PolicyFacts, SignatureCounts
from policies.people import People, Person
from policies.policy_set import PolicySet
from policies.request import REQUEST_NAMESPACE, SigningRequest
from signer.authority.policy_folder import shipped_policies

_ROUNDS = 300
_WARM_UP_ROUNDS = 20
_MEDIAN_MILLISECONDS_MAX = 2.0
_KEY_ID = bytes(range(8))
_PEOPLE = People(
    format=1,
    people=[
        Person(id="ada", name="Ada", roles=["requester"], groups=["engineering"]),
        Person(id="eve", name="Eve", roles=["approver"], groups=["engineering"]),
        Person(id="quinn", name="Quinn", roles=["approver"], groups=["quality"]),
    ],
)
_FACTS = PolicyFacts(
    environment="production",
    keys=(KeyFact(_KEY_ID, "sr:application-release:bench:0001", "application-release", "bench"),),
    last_release=LastRelease("1.2.0", 4),
    sbom_present=True,
    test_evidence_present=True,
    signed=SignatureCounts(last_day=3, last_day_of_product=1, last_day_by_requester=1, of_product=40),
)


@dataclass(frozen=True)
class _Desk:
    """A signed request, two signed approvals, and what they are judged by."""

    policy_set: PolicySet
    signers: AllowedSigners
    request: SignedStatement
    approvals: tuple[SignedStatement, ...]
    now: datetime

    def check(self) -> None:
        """The whole way; it must end in Allow."""
        request = authenticate_request(self.request, self.signers, _PEOPLE, self.now)
        approvals = authenticate_approvals(request, self.approvals, self.signers, _PEOPLE, self.now)
        decide(self.policy_set, request, approvals, _FACTS, self.now).require()

    def decision_alone(self) -> Callable[[], None]:
        """The policies' part of it."""
        request = authenticate_request(self.request, self.signers, _PEOPLE, self.now)
        approvals = authenticate_approvals(request, self.approvals, self.signers, _PEOPLE, self.now)
        return lambda: decide(self.policy_set, request, approvals, _FACTS, self.now).require()


def measure_policy_check() -> list[Figure]:
    """The check with Ed25519 keys against its target; with ECDSA keys and for the decision alone as context."""
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        ed25519 = _desk(Path(folder) / "ed25519", "ed25519")
        ecdsa = _desk(Path(folder) / "ecdsa", "ecdsa")
    what = "policy and approval check of a request with two approvals"
    return [
        Figure(
            f"{what}, Ed25519 keys, median", _milliseconds(ed25519.check), "ms", Bound.AT_MOST, _MEDIAN_MILLISECONDS_MAX
        ),
        Figure(f"{what}, ECDSA P-256 keys, median", _milliseconds(ecdsa.check), "ms"),
        Figure("the decision by Cedar in it, median", _milliseconds(ed25519.decision_alone()), "ms"),
    ]


def _milliseconds(work: Callable[[], None]) -> float:
    return median([timed(work) for _ in range(_WARM_UP_ROUNDS + _ROUNDS)][_WARM_UP_ROUNDS:]) * 1000


def _desk(folder: Path, key_type: str) -> _Desk:
    (folder / "fake").mkdir(parents=True)
    lines = [_new_key(folder, person.id, key_type) for person in _PEOPLE.people]
    policy_set = PolicySet.of({name: text.encode() for name, text in shipped_policies().items()})
    now = datetime.now(UTC).replace(microsecond=0)
    request = _request(policy_set, now)
    approvals = [
        (approver, Approval(request_digest=request.digest, approver=approver, not_after=request.not_after).encode())
        for approver in ("eve", "quinn")
    ]
    return _Desk(
        policy_set,
        parse_allowed_signers("".join(lines)),
        _signed(folder, "ada", REQUEST_NAMESPACE, request.encode()),
        tuple(_signed(folder, approver, APPROVAL_NAMESPACE, statement) for approver, statement in approvals),
        now,
    )


def _request(policy_set: PolicySet, now: datetime) -> SigningRequest:
    return SigningRequest(
        environment="production",
        head_digest=b"\x01" * 32,
        image_digest=b"\x02" * 32,
        kind="application",
        product="bench",
        product_id="6f1a4b7e3c524d0e9b7d0a3c5e8f1d24",
        version="1.3.0",
        security_version=4,
        target="any",
        key_ids=(_KEY_ID,),
        sbom_digest=b"\x03" * 32,
        test_evidence_digest=b"\x04" * 32,
        not_after=now + timedelta(days=1),
        policy_digest=policy_set.digest,
        requester="ada",
    )


def _new_key(folder: Path, person: str, key_type: str) -> str:
    """A new SSH key; returns its line for `allowed_signers`."""
    path = folder / "fake" / person
    command = ["ssh-keygen", "-q", "-t", key_type, "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return f"{person} {path.with_suffix('.pub').read_text(encoding='utf-8').strip()}\n"


def _signed(folder: Path, person: str, namespace: str, statement: bytes) -> SignedStatement:
    path = folder / f"{person}.json"
    path.write_bytes(statement)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(folder / "fake" / person), str(path)]
    subprocess.run(command, check=True, timeout=30, capture_output=True)
    return SignedStatement(statement, path.with_name(f"{path.name}.sig").read_bytes())


if __name__ == "__main__":
    from bench.figures import table

    print(table(measure_policy_check()))
