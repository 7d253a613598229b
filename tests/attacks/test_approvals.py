"""Approvals for one artefact used for another, and everything else that could be exchanged: refused before the HSM.

Each order goes through the command `package sign --request`; pkcs11-spy says which keys were asked for a signature. For
a refused order that is only the log's key, which signs the checkpoint over the refusal.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from pki.canonical_json import encode_canonical
from policies.approval import APPROVAL_NAMESPACE
from policies.request import REQUEST_NAMESPACE
from tests.attacks.spied_world import SpiedWorld
from tests.cli.release_world import copied, terms
from tests.cli.service_world import ServiceWorld
from tests.cli.world import label

LOG_KEY = "sr:log:-:0001"
REFUSALS = {ExitCode.INPUT, ExitCode.VERIFICATION, ExitCode.POLICY}
OTHER_VALUES: dict[str, Any] = {
    "type": "strongroom-signing-request-2",
    "environment": "production",
    "head_digest": "01" * 32,
    "image_digest": "01" * 32,
    "kind": "factory-test",
    "product": "pump-x3",
    "product_id": "01" * 16,
    "version": "1.0.1",
    "security_version": 2,
    "target": "any",
    "key_ids": ["01" * 8],
    "sbom_digest": "01" * 32,
    "test_evidence_digest": "01" * 32,
    "not_after": f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}",
    "policy_digest": "01" * 32,
    "requester": "dan",
}
PAST = f"{datetime.now(UTC) - timedelta(seconds=5):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Statement:
    """A statement and its signature, as files will have them."""

    content: bytes
    signature: bytes


@dataclass(frozen=True)
class Order:
    prepared: Path
    request: Statement
    approvals: tuple[Statement, ...]
    sbom: Path
    tests: Path


class Attack:
    """The world, one honest order that nobody has signed for yet, and a way to try other orders."""

    def __init__(self, world: SpiedWorld) -> None:
        self.world = world
        prepared, request, approvals = world.asked("1.0.0", approvers=("ben", "cleo"))
        self.honest = Order(prepared, _read(request), tuple(_read(path) for path in approvals), world.sbom, world.tests)
        world.asked_keys()

    def fields(self, statement: Statement) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(statement.content)
        return fields

    def signed(self, fields: dict[str, Any] | bytes, person: str, namespace: str = REQUEST_NAMESPACE) -> Statement:
        content = fields if isinstance(fields, bytes) else encode_canonical(fields)
        return Statement(content, self.world.ssh_key(person).sign(namespace, content))

    def approval(self, request: Statement, person: str, **changes: Any) -> Statement:
        fields = {
            **self.fields(self.honest.approvals[0]),
            "request_digest": hashlib.sha256(request.content).hexdigest(),
            "approver": person,
        }
        return self.signed({**fields, **changes}, person, APPROVAL_NAMESPACE)

    def try_order(self, order: Order) -> Any:
        """The result of the command; the files are written anew for each order."""
        folder = self.world.out / "order"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        request = _write(folder / "request.json", order.request)
        approvals = [_write(folder / f"{number}.json", item) for number, item in enumerate(order.approvals)]
        arguments: list[str | Path] = ["package", "sign", order.prepared, "--request", request]
        for path in approvals:
            arguments += ["--approval", path]
        return self.world.run(*arguments, "--sbom", order.sbom, "--tests", order.tests, "--json")

    def refused(self, order: Order, *rules: str) -> None:
        """It must be refused, under one of the rules if any are given, and no key but the log's asked."""
        entries = len(self.world.log_kinds())
        result = self.try_order(order)
        assert result.code in REFUSALS, result
        story = self.world.log_story()[entries:]
        assert [entry["event"] for entry in story] == ["request-refused"]
        if rules:
            assert story[0]["rule_id"] in rules, result.err
        assert set(self.world.asked_keys()) <= {LOG_KEY}
        assert not list(self.world.shelf.glob("*.srp"))


def _read(path: Path) -> Statement:
    return Statement(path.read_bytes(), path.with_name(f"{path.name}.sig").read_bytes())


def _write(path: Path, statement: Statement) -> Path:
    path.write_bytes(statement.content)
    path.with_name(f"{path.name}.sig").write_bytes(statement.signature)
    return path


@pytest.fixture(scope="module")
def attack(service_template: ServiceWorld) -> Iterator[Attack]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(service_template, patch, SpiedWorld)
    with world.spying():
        yield Attack(world)
    shutil.rmtree(world.folder)


@pytest.fixture(autouse=True)
def _nothing_changed(attack: Attack) -> Iterator[None]:
    """Whatever a test tries, the honest order is still to be signed for afterwards: nothing that was refused counts."""
    yield
    assert set(attack.world.asked_keys()) <= {LOG_KEY}


# The control is the last test of the file: what all of them must not do, it does, and the spy sees it.


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_field_of_a_request_changed_under_its_signature_is_refused(attack: Attack, name: str) -> None:
    fields = attack.fields(attack.honest.request)
    assert set(fields) == set(OTHER_VALUES)
    assert fields[name] != OTHER_VALUES[name]
    changed = Statement(encode_canonical({**fields, name: OTHER_VALUES[name]}), attack.honest.request.signature)
    attack.refused(replace(attack.honest, request=changed))


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_request_changed_and_signed_again_does_not_take_the_old_approvals_along(attack: Attack, name: str) -> None:
    fields = {**attack.fields(attack.honest.request), name: OTHER_VALUES[name]}
    request = attack.signed(fields, fields["requester"])
    attack.refused(replace(attack.honest, request=request))


@pytest.mark.parametrize("name", sorted(set(OTHER_VALUES) - {"not_after", "requester"}))
def test_a_request_that_all_agreed_on_does_not_sign_another_package(attack: Attack, name: str) -> None:
    """Requester and approvers sign whatever is put before them; the package itself is looked at."""
    request = attack.signed({**attack.fields(attack.honest.request), name: OTHER_VALUES[name]}, "ada")
    approvals = tuple(attack.approval(request, person) for person in ("ben", "cleo"))
    attack.refused(replace(attack.honest, request=request, approvals=approvals))


@pytest.mark.parametrize(
    ("name", "value", "rule_id"),
    [
        ("type", "strongroom-approval-2", "AP-02"),
        ("request_digest", "01" * 32, "AP-08"),
        ("approver", "dan", "SS-10"),
        ("not_after", PAST, "AP-06"),
        ("decision", "reject", "AP-03"),
    ],
)
def test_a_field_of_an_approval_changed_is_refused(attack: Attack, name: str, value: str, rule_id: str) -> None:
    approval = attack.honest.approvals[0]
    fields = attack.fields(approval)
    assert set(fields) == {"type", "request_digest", "approver", "not_after", "decision"}
    changed = {**fields, name: value}
    under_its_signature = Statement(encode_canonical(changed), approval.signature)
    attack.refused(replace(attack.honest, approvals=(under_its_signature, attack.honest.approvals[1])))
    signed_again = attack.signed(changed, "ben", APPROVAL_NAMESPACE)
    attack.refused(replace(attack.honest, approvals=(signed_again, attack.honest.approvals[1])), rule_id)


def test_unknown_doubled_and_missing_fields_are_refused(attack: Attack) -> None:
    request, approval = attack.fields(attack.honest.request), attack.fields(attack.honest.approvals[0])
    for fields, person, namespace, prefix in (
        (request, "ada", REQUEST_NAMESPACE, "RQ"),
        (approval, "ben", APPROVAL_NAMESPACE, "AP"),
    ):
        canonical = encode_canonical(fields)
        missing = [{name: value for name, value in fields.items() if name != left_out} for left_out in fields]
        doubled = canonical.replace(b"{", b'{"type":"x",', 1)
        spaced = canonical.replace(b",", b", ", 1)
        for content, rule_id in (
            (encode_canonical({**fields, "scope": "everything"}), f"{prefix}-02"),
            (encode_canonical(missing[3]), f"{prefix}-02"),
            (doubled, f"{prefix}-01"),
            (spaced, f"{prefix}-01"),
            (canonical + b"\n", f"{prefix}-01"),
        ):
            signed = attack.signed(content, person, namespace)
            order = (
                replace(attack.honest, request=signed)
                if prefix == "RQ"
                else replace(attack.honest, approvals=(signed, attack.honest.approvals[1]))
            )
            attack.refused(order, rule_id)


def test_statements_replayed_or_exchanged_are_refused(attack: Attack) -> None:
    honest = attack.honest
    fields, (ben, cleo) = attack.fields(honest.request), honest.approvals
    other = attack.signed({**fields, "not_after": OTHER_VALUES["not_after"]}, "ada")
    expired = attack.signed({**fields, "not_after": PAST}, "ada")
    by_requester = attack.approval(honest.request, "ada")
    dans = attack.signed({**fields, "requester": "dan"}, "dan")
    tries: Sequence[tuple[Order, str]] = (
        (replace(honest, request=expired), "RQ-06"),
        (replace(honest, approvals=(attack.approval(other, "ben"), cleo)), "AP-08"),
        (replace(honest, approvals=(ben, ben)), "AP-10"),
        (replace(honest, approvals=(ben, cleo, by_requester)), "AP-05"),
        (replace(honest, request=dans, approvals=(attack.approval(dans, "dan"),)), "AP-09"),
        (replace(honest, approvals=(Statement(ben.content, cleo.signature), cleo)), "SS-10"),
        (replace(honest, approvals=(Statement(ben.content, honest.request.signature), cleo)), "SS-05"),
        (replace(honest, request=Statement(honest.request.content, ben.signature)), "SS-05"),
        (replace(honest, request=ben), "RQ-02"),
        (replace(honest, approvals=(honest.request,)), "AP-02"),
        (replace(honest, request=attack.signed(fields, "ben")), "SS-10"),
        (replace(honest, approvals=(attack.signed(attack.fields(ben), "cleo", APPROVAL_NAMESPACE), cleo)), "SS-10"),
        (replace(honest, approvals=(ben,) * 17), "AP-12"),
    )
    for order, rule_id in tries:
        attack.refused(order, rule_id)


def test_files_exchanged_after_the_request_are_refused(attack: Attack) -> None:
    world, honest = attack.world, attack.honest
    other = world.prepare("1.0.1")
    world.asked_keys()
    attack.refused(replace(honest, prepared=other), "SV-10")
    attack.refused(replace(honest, sbom=honest.tests), "SV-18")
    attack.refused(replace(honest, tests=honest.sbom), "SV-23")
    content = bytearray(honest.prepared.read_bytes())
    for offset, rules in ((61, ("FormatError",)), (150, ("SV-10",)), (500, ("SV-19",)), (2000, ("SV-20",))):
        changed = world.out / "changed.srp"
        changed.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        attack.refused(replace(honest, prepared=changed), *rules)


def test_one_byte_of_a_policy_changed_after_the_request_is_refused(attack: Attack) -> None:
    for path in sorted((attack.world.root / "policies").iterdir()):
        if path.name in {"tests.toml", "README.md"}:
            continue
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        try:
            attack.refused(attack.honest, "PO-02")
        finally:
            path.write_bytes(content)


def test_an_order_that_all_agree_on_asks_each_of_its_keys_exactly_once(attack: Attack) -> None:
    """The control: the spy sees what it must not see in any test above."""
    result = attack.try_order(attack.honest)
    assert result.code == ExitCode.OK, result
    asked = attack.world.asked_keys()
    assert asked == {label("application-release"): 1, label("compat"): 1, LOG_KEY: 1}
    again = attack.try_order(attack.honest)
    assert again.json["repeated"]
    assert set(attack.world.asked_keys()) <= {LOG_KEY}


def test_a_bootloader_asks_both_of_its_keys_exactly_once(attack: Attack) -> None:
    world = attack.world
    firmware = world.firmware("boot-b", 3000, 0x08010400)
    firmware.write_bytes(firmware.read_bytes() + world.bundle.read_bytes())
    prepared = world.out / "boot.prepared.srp"
    options = ("--type", "bootloader", "--copy", "B", "--for-device", world.public, "--sbom", world.sbom)
    world.ok("package", "prepare", *terms("1.1.0"), firmware, "-o", prepared, *options)
    request = world.request(prepared)
    approval = world.approve(request, "ben")
    world.asked_keys()
    world.sign(prepared, request, [approval])
    keys = (label("bootloader-release", 1), label("bootloader-release", 2), label("compat"), LOG_KEY)
    assert world.asked_keys() == dict.fromkeys(keys, 1)
