"""What devices make and hosts read: challenges, receipts, signed statuses; and the points that ask for a challenge."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator import p256
from tests.vectors.generator.cases_grants import OFF_CURVE
from tests.vectors.generator.keys import key
from tests.vectors.generator.object_case import ObjectCase
from tests.vectors.generator.object_world import (
    CERTIFICATE_DIGEST,
    HOST_EPHEMERAL,
    LOCKED,
    NONCE,
    OPERATIONAL,
    ORDER_ID,
    SERIAL,
    activated_payload,
    activation_plan,
    devices,
    order_plan,
    receipt_plan,
)
from tests.vectors.generator.objects import ACTIVATION, CHALLENGE, STATUS, Plan, agreement_proof, text
from tests.vectors.generator.package import Package, Value, laid_over
from tests.vectors.generator.primitives import derived_bytes, sha256, u32
from tests.vectors.generator.world import (
    DEVICE_1_UID,
    DEVICE_BUNDLE,
    INSTALLED_VERSION,
    LOT,
    OBJECT_BUNDLE,
    PRODUCT,
    PROTECTION,
    RUNNING_BOOTLOADER_SECURITY_VERSION,
    RUNNING_BOOTLOADER_VERSION,
    installed_application,
)

SIMULATION_ONLY, FACTORY_TEST = 1, 2
HOST_NONCE = derived_bytes("Strongroom test nonce of a host", 32)
LIFECYCLES = {"LOCKED": LOCKED, "OPERATIONAL": OPERATIONAL, "RMA": 0x66, "DECOMMISSIONED": 0x99}
UPDATE_REQUESTED = 707


# --- challenge ---


def challenge_plan(device: str, host_ephemeral: bytes = HOST_EPHEMERAL.public) -> Plan:
    """What a device answers; without keys unsigned, without a state nearly empty."""
    (facts,) = (entry for entry in devices() if entry.name == device)
    values: dict[str, Value] = {
        "uid": DEVICE_1_UID,
        "protection": facts.protection,
        "nonce": NONCE,
        "host_ephemeral": host_ephemeral,
    }
    if facts.lifecycle == "NONE":
        return Plan(CHALLENGE, values, None)
    bundle = OBJECT_BUNDLE if facts.trust_bundle == OBJECT_BUNDLE.plan.name else DEVICE_BUNDLE
    values |= {
        "lifecycle": LIFECYCLES[facts.lifecycle],
        "product_id": PRODUCT,
        "lot": facts.lot,
        "hardware_revision": 3,
        "trust_bundle_version": 1,
        "trust_bundle_digest": bundle.digest,
        "flags": SIMULATION_ONLY,
    }
    if "ACTIVATED" in facts.records:
        activated = facts.records["ACTIVATED"]
        values |= {"order_id": activated[:16], "activation_digest": activated[48:80]}
    if facts.identity_key is None or facts.agreement_key is None:
        return Plan(CHALLENGE, values, None)
    values |= {
        "identity_public_key": key(facts.identity_key).public,
        "agreement_public_key": key(facts.agreement_key).public,
    }
    plan = Plan(CHALLENGE, values, key(facts.identity_key))
    proof = agreement_proof(key(facts.agreement_key).private, host_ephemeral, plan.make()[:288])
    return plan.having(agreement_proof=proof)


def requests() -> Iterator[ObjectCase]:
    """A host's point, and the challenge that follows."""
    for device in (
        "locked-with-keys",
        "locked-unprotected",
        "operational-activated",
        "rma-without-keys",
        "decommissioned",
        "without-state",
    ):
        answer = challenge_plan(device).make()[: CHALLENGE.signature_offset]
        words = f"a fresh point, to a device that is `{device}`"
        yield ObjectCase(
            f"request-to-{device}",
            words,
            "challenge-request",
            "OK",
            "complete",
            HOST_EPHEMERAL.public,
            device,
            NONCE,
            answer=answer,
        )
    x, y = p256.decode_point(HOST_EPHEMERAL.public)
    beyond = (x + p256.P).to_bytes(33, "big")[1:] + y.to_bytes(32, "big")
    for name, point in (("off-curve", OFF_CURVE), ("zero", bytes(64)), ("greatest", b"\xff" * 64), ("wrapped", beyond)):
        words = f"a point that is none: {name}"
        yield ObjectCase(
            f"request-{name}", words, "challenge-request", "EPHEMERAL_KEY", "rules", point, "locked-with-keys", NONCE
        )


def _host(
    kind: str, name: str, words: str, code: str, data: bytes, given: dict[str, object], plan: Plan | None = None
) -> ObjectCase:
    stage = {"OK": "complete", "MALFORMED": "shape"}.get(code, "rules")
    fields: dict[str, object] = {} if plan is None else {**plan.values, "digest": plan.kind.digest(data)}
    return ObjectCase(f"{kind}-{name}", words, kind, code, stage, data, given=given, fields=fields)


def _shapes(plan: Plan, reserved: tuple[int, ...]) -> Iterator[tuple[str, str, bytes]]:
    """Malformations that every object of a device may have."""
    data = plan.make()
    for name, wrong in (("empty", b""), ("byte-short", data[:-1]), ("byte-more", data + b"\0")):
        yield f"size-{name}", f"{len(wrong)} bytes", wrong
    starts: tuple[tuple[str, dict[str, Value]], ...] = (
        ("magic", {"magic": b"SRX1"}),
        ("version-0", {"format_version": 0}),
        ("version-2", {"format_version": 2}),
        ("version-257", {"format_version": 257}),
        ("suite-0", {"suite": 0}),
        ("suite-2", {"suite": 2}),
    )
    for name, change in starts:
        yield name, f"signed with {', '.join(change)} wrong", plan.having(**change).make()
    for offset in reserved:
        yield f"reserved-{offset}", f"reserved byte {offset} is not zero", plan.over(offset, b"\1").make()


def challenges() -> Iterator[ObjectCase]:
    """Challenges as hosts read them."""
    given: dict[str, object] = {"host_private_key": f"{HOST_EPHEMERAL.private:064x}"}
    for device in ("locked-with-keys", "operational-activated"):
        plan = challenge_plan(device)
        yield _host("challenge", f"of-{device}", f"by a device that is `{device}`", "OK", plan.make(), given, plan)
    plan = challenge_plan("locked-with-keys")
    factory_test = plan.having(flags=SIMULATION_ONLY | FACTORY_TEST)
    yield _host(
        "challenge", "factory-test", "a factory test is installed", "OK", factory_test.make(), given, factory_test
    )
    for name, words, data in _shapes(plan, (401, 447)):
        yield _host("challenge", name, words, "MALFORMED", data, given)
    wrong = plan.having(flags=4).make()
    yield _host("challenge", "flag-unknown", "an unknown flag", "MALFORMED", wrong, given)
    wrong = plan.having(protection=0x20).make()
    yield _host("challenge", "protection-unknown", "an unknown protection flag", "MALFORMED", wrong, given)
    for name, words, changed in (
        ("by-another", "signed by another key than it names", plan.signed_by(key("stranger"))),
        ("context", "signed in the context of a receipt", plan.signed_by(plan.signer, "SR-receipt-v1")),
        ("zero", "keys, and no signature", plan.signed_by(None)),
    ):
        yield _host("challenge", f"signature-{name}", words, "SIGNATURE_INVALID", changed.make(), given)
    words = "a device without keys proves nothing"
    yield _host("challenge", "unsigned", words, "SIGNATURE_INVALID", challenge_plan("rma-without-keys").make(), given)
    data = plan.make()
    for at in (8, 24, 58, 64, 320, 352, 368, 400):
        changed_data = laid_over(data, at, bytes((data[at] ^ (2 if at == 400 else 1),)))
        words = f"byte {at} changed after signing"
        yield _host("challenge", f"changed-{at}", words, "SIGNATURE_INVALID", changed_data, given)
    replayed = challenge_plan("locked-with-keys", key("stranger").public)
    words = "an answer to another host's point"
    yield _host("challenge", "replayed", words, "WRONG_EPHEMERAL", replayed.make(), given)
    yield from _proofs(plan, given)


def _proofs(plan: Plan, given: dict[str, object]) -> Iterator[ObjectCase]:
    proof = plan.values["agreement_proof"]
    other = agreement_proof(key("device-2-agreement").private, HOST_EPHEMERAL.public, plan.make()[:288])
    earlier = agreement_proof(
        key("device-1-agreement").private, HOST_EPHEMERAL.public, plan.having(nonce=bytes(32)).make()[:288]
    )
    if not isinstance(proof, bytes):
        raise TypeError("a proof is bytes")
    for name, words, wrong in (
        ("zero", "no proof", bytes(32)),
        ("by-another-key", "by another agreement key than it names", other),
        ("of-another-nonce", "of another challenge", earlier),
        ("changed", "one bit changed", proof[:31] + bytes((proof[31] ^ 1,))),
    ):
        data = plan.having(agreement_proof=wrong).make()
        yield _host("challenge", f"proof-{name}", f"the agreement key's proof: {words}", "AGREEMENT_PROOF", data, given)


# --- receipt ---


def receipts() -> Iterator[ObjectCase]:
    """Receipts as hosts read them."""
    given: dict[str, object] = {"identity_public_key": key("device-1-identity").public.hex()}
    plan = receipt_plan(ACTIVATION.digest(activation_plan(order_plan().make()).make()), OPERATIONAL)
    for name, lifecycle in LIFECYCLES.items():
        made = plan.having(lifecycle=lifecycle)
        yield _host("receipt", name.lower(), f"from now on {name}", "OK", made.make(), given, made)
    for name, words, data in _shapes(plan, (218, 219, 224, 255)):
        yield _host("receipt", name, words, "MALFORMED", data, given)
    wrong = plan.having(protection=0x8000).make()
    yield _host("receipt", "protection-unknown", "an unknown protection flag", "MALFORMED", wrong, given)
    for name, words, changed in (
        ("by-another", "signed by another key", plan.signed_by(key("stranger"))),
        ("context", "signed in the context of a status", plan.signed_by(plan.signer, "SR-status-v1")),
        ("zero", "not signed", plan.signed_by(None)),
        (
            "self-named",
            "names a stranger's key and is signed by it",
            plan.having(identity_public_key=key("stranger").public).signed_by(key("stranger")),
        ),
    ):
        yield _host("receipt", f"signature-{name}", words, "SIGNATURE_INVALID", changed.make(), given)
    data = plan.make()
    for at in (7, 8, 24, 56, 152, 216, 220):
        flipped = data[at] ^ (OPERATIONAL ^ LOCKED if at == 7 else 1)
        words = f"byte {at} changed after signing"
        yield _host(
            "receipt", f"changed-{at}", words, "SIGNATURE_INVALID", laid_over(data, at, bytes((flipped,))), given
        )


# --- signed status ---


def status_plan() -> Plan:
    """What `operational-activated-with-application` says in update mode, after an entry by its pin."""
    application: Package = installed_application()
    activated = activated_payload()
    values: dict[str, Value] = {
        "runs": 1,
        "uid": DEVICE_1_UID,
        "nonce": HOST_NONCE,
        "product_id": PRODUCT,
        "hardware_revision": 3,
        "lifecycle": OPERATIONAL,
        "flags": SIMULATION_ONLY,
        "lot": LOT,
        "protection": PROTECTION,
        "running_copy": 0,
        "copies": 0b0111,
        "bootloader_version_a": RUNNING_BOOTLOADER_VERSION,
        "bootloader_version_b": RUNNING_BOOTLOADER_VERSION,
        "bootloader_security_version_a": RUNNING_BOOTLOADER_SECURITY_VERSION,
        "bootloader_security_version_b": RUNNING_BOOTLOADER_SECURITY_VERSION,
        "installed_type": 1,
        "application_state": 2,
        "application_version": INSTALLED_VERSION,
        "application_security_version": 10,
        "application_head_hash": sha256(application.head),
        "application_upload_hash": sha256(application.head, *application.chunks),
        "floors": u32(10) + u32(RUNNING_BOOTLOADER_SECURITY_VERSION) + u32(1),
        "trust_bundle_version": 1,
        "trust_bundle_digest": OBJECT_BUNDLE.digest,
        "order_id": ORDER_ID,
        "activation_digest": activated[48:80],
        "certificate_digest": CERTIFICATE_DIGEST,
        "update_mode_code": UPDATE_REQUESTED,
        "serial": SERIAL,
        "board": text("stm32f405-full", 32),
        "identity_key_id": key("device-1-identity").key_id,
        "agreement_key_id": key("device-1-agreement").key_id,
    }
    return Plan(STATUS, values, key("device-1-identity"))


def statuses() -> Iterator[ObjectCase]:
    """Signed statuses as hosts read them."""
    given: dict[str, object] = {
        "identity_public_key": key("device-1-identity").public.hex(),
        "nonce": HOST_NONCE.hex(),
        "device": "operational-activated-with-application",
    }
    plan = status_plan()
    uploading = {"upload_offset_bytes": 2**32 - 2, "upload_size_bytes": 2**32 - 1, "event_count": 2**32 - 1}
    for name, words, made in (
        ("in-update-mode", "the whole of it", plan),
        ("of-application", "from the application", plan.having(runs=2, update_mode_code=0)),
        ("uploading", "an upload under way, the greatest numbers", plan.having(**uploading, journal_free_bytes=7)),
        (
            "grant-pending",
            "a grant is pending, a group key",
            plan.having(grant_head_hash=derived_bytes("head", 32), group_key_id=key("group-lot-1-agreement").key_id),
        ),
        (
            "copy-b-on-trial",
            "copy B runs on trial",
            plan.having(running_copy=1, bootloader_version_b=(3, 1, 0x0100, 2)),
        ),
        ("service-pending", "a service order is being carried out", plan.having(flags=3, update_mode_code=831)),
    ):
        yield _host("signed-status", name, words, "OK", made.make(), given, made)
    for name, words, data in _shapes(plan, (123, 362, 468, 511)):
        yield _host("signed-status", name, words, "MALFORMED", data, given)
    changes: tuple[tuple[str, dict[str, Value]], ...] = (
        ("runs-0", {"runs": 0}),
        ("runs-3", {"runs": 3}),
        ("flag-unknown", {"flags": 4}),
        ("copy-2", {"running_copy": 2}),
        ("copies-unknown", {"copies": 0x10}),
        ("application-state-3", {"application_state": 3}),
        ("protection-unknown", {"protection": 0x20}),
        ("installed-type-4", {"installed_type": 4}),
        ("lot-not-text", {"lot": b"LOT\n".ljust(16, b"\0")}),
        ("serial-not-text", {"serial": b"\x7f".ljust(32, b"\0")}),
        ("board-not-text", {"board": b"\0board".ljust(32, b"\0")}),
    )
    for name, change in changes:
        words = f"a value that no device has: {name}"
        yield _host("signed-status", name, words, "MALFORMED", plan.having(**change).make(), given)
    for name, words, changed in (
        ("by-another", "signed by another key", plan.signed_by(key("stranger"))),
        ("context", "signed in the context of a receipt", plan.signed_by(plan.signer, "SR-receipt-v1")),
        ("zero", "not signed", plan.signed_by(None)),
    ):
        yield _host("signed-status", f"signature-{name}", words, "SIGNATURE_INVALID", changed.make(), given)
    data = plan.make()
    for at in (8, 56, 72, 94, 96, 124, 132, 136, 200, 212, 360, 364, 380, 412, 444):
        words = f"byte {at} changed after signing"
        yield _host(
            "signed-status",
            f"changed-{at}",
            words,
            "SIGNATURE_INVALID",
            laid_over(data, at, bytes((data[at] ^ 1,))),
            given,
        )
    other = plan.having(nonce=derived_bytes("yesterday's nonce", 32)).make()
    yield _host("signed-status", "replayed", "an answer to another question", "WRONG_NONCE", other, given)


def cases() -> Iterator[ObjectCase]:
    """All of this file."""
    yield from requests()
    yield from challenges()
    yield from receipts()
    yield from statuses()
