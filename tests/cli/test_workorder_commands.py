"""`strongroom workorder` and `service`: from readable options to a signed order, with and without approvals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from pki.values import PublicKey
from signer.authority.public_key_files import public_key_to_pem, read_public_key
from signer.device_objects.service_order import parse_prepared_service_order, parse_service_order
from signer.device_objects.work_order import parse_prepared_work_order, parse_work_order
from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.release_world import copied
from tests.cli.service_world import REQUESTER, ServiceWorld
from tests.cli.world import PRODUCT, World, label
from tests.scenarios.life import HOST, device_with_keys
from tests.softhsm_fixtures import close_all
from tests.unit.packages.fake.software_keys import SoftwareKey

ORGANIZATION = ("--organization", "Example Pumps")


@dataclass
class OrderWorld(ServiceWorld):
    """A service world with a lot: its key, its CA below the production CA, and a station's public key."""

    @property
    def station(self) -> Path:
        return self.out / "station.pem"

    @property
    def lot_ca(self) -> Path:
        return self.out / "lot-ca.pem"

    def allowed_signers_of_nobody(self) -> None:
        (self.root / "allowed_signers").write_text(f"nobody {self.ssh_key('ben').line}\n", encoding="utf-8")

    def order_arguments(self, out: Path, **changed: str) -> list[str | Path]:
        values = {
            "--product": PRODUCT,
            "--lot": "LOT-2026-11",
            "--quota": "3",
            "--station": f"{self.station}=3",
            "--lot-key": label("lot"),
            "--issuing-ca": str(self.lot_ca),
            "--trust-bundle-min": "1",
            "--not-after": "60d",
        } | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        return ["workorder", "prepare", *(part for pair in values.items() for part in pair), "-o", out]

    def prepare_order(self, name: str = "lot", **changed: str) -> Path:
        path = self.out / f"{name}.prepared.srw"
        self.ok(*self.order_arguments(path, **changed))
        return path

    def request_order(self, prepared: Path, command: str = "workorder", person: str = REQUESTER) -> Path:
        path = self.out / f"{prepared.name.partition('.')[0]}.request.json"
        self.ok(command, "request", prepared, "--as", person, "--ssh-key", self.ssh_key(person).path, "-o", path)
        return path

    def sign_order(self, prepared: Path, request: Path, people: tuple[str, ...], command: str = "workorder") -> Path:
        out = self.out / f"{prepared.name.partition('.')[0]}.signed"
        approvals = [self.approve(request, person) for person in people]
        arguments: list[str | Path] = [command, "sign", prepared, "--request", request, "-o", out]
        for approval in approvals:
            arguments += ["--approval", approval]
        self.ok(*arguments)
        return out


def build_lot(world: OrderWorld) -> None:
    """The keys and certificates of one lot."""
    for role in ("lot", "lot-ca", "service"):
        world.ok("key", "generate", role, "--token", "ca", "-p", PRODUCT, "--sequence", "1", "--activate")
    text = world.product_file.read_text(encoding="utf-8")
    text = text.replace("\ncompat = ", f'\nservice = [{{ token = "ca", label = "{label("service")}" }}]\ncompat = ', 1)
    world.product_file.write_text(text, encoding="utf-8")
    out = world.out
    root, production = out / "root-ca.pem", out / "production-ca.pem"
    world.ok("cert", "root-ca", "--key", "sr:root-ca:-:0001", *ORGANIZATION, "--common-name", "Root CA", "-o", root)
    for role, name, key, ca_key, ca_cert, path in (
        ("production-ca", "Production CA", "sr:production-ca:-:0001", "sr:root-ca:-:0001", root, production),
        ("lot-ca", "Lot LOT-2026-11", label("lot-ca"), "sr:production-ca:-:0001", production, world.lot_ca),
    ):
        csr = out / f"{role}.csr"
        named = (*ORGANIZATION, "--common-name", name)
        world.ok("cert", "csr", "--key", key, *named, "-o", csr)
        world.ok("cert", role, "--ca-key", ca_key, "--ca-cert", ca_cert, "--csr", csr, *named, "-o", path)
    world.station.write_bytes(public_key_to_pem(SoftwareKey("station").public_key))


@pytest.fixture(scope="module")
def order_template(service_template: World) -> Iterator[OrderWorld]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(service_template, patch, OrderWorld)
        build_lot(world)
        close_all(load_module(ModuleConfig(find_module("softhsm2"))))
        yield world


@pytest.fixture
def order_world(order_template: OrderWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[OrderWorld]:
    world = copied(order_template, monkeypatch, OrderWorld)
    yield world
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))


def test_a_work_order_is_prepared_asked_for_approved_and_signed(order_world: OrderWorld) -> None:
    prepared = order_world.prepare_order()
    order = parse_prepared_work_order(prepared.read_bytes())
    assert (order.lot, order.quota, order.stations[0].sub_quota) == ("LOT-2026-11", 3, 3)
    request = order_world.request_order(prepared)
    signed = order_world.sign_order(prepared, request, ("ben", "cleo"))
    assert parse_work_order(signed.read_bytes()).order == order
    verified = order_world.ok("workorder", "verify", signed, "--json").json
    assert verified["verified"]
    assert verified["order"]["stations"][0]["sub_quota"] == 3
    assert "LOT-2026-11" in order_world.ok("workorder", "show", signed).out
    story = [entry for entry in order_world.log_story() if entry.get("kind") == "work-order"]
    assert [entry["event"] for entry in story] == ["sign-intent", "sign-result"]
    assert story[0]["approvers"] == ["ben", "cleo"]


def test_the_approver_sees_lot_and_quota_and_types_them(order_world: OrderWorld) -> None:
    request = order_world.request_order(order_world.prepare_order())
    digest = hashlib.sha256(request.read_bytes()).hexdigest()
    shown = order_world.ok(
        "approve", request, "--as", "ben", "--ssh-key", order_world.ssh_key("ben").path, "--digest", digest,
        "--package", order_world.out / "lot.prepared.srw", "-o", order_world.out / "ben.json",
    ).err  # fmt: skip
    assert "work-order" in shown
    assert "LOT-2026-11" in shown
    assert "lot.prepared.srw is the object that this request is for" in shown
    other = order_world.prepare_order("other", quota="4")
    failed = order_world.fails(
        ExitCode.POLICY, "approve", request, "--as", "ben", "--ssh-key", order_world.ssh_key("ben").path,
        "--digest", digest, "--package", other, "-o", order_world.out / "again.json",
    )  # fmt: skip
    assert "OB-03" in failed


def test_a_request_is_shown_and_explained(order_world: OrderWorld) -> None:
    request = order_world.request_order(order_world.prepare_order())
    assert order_world.ok("package", "show", request, "--json").json["accepted"] is True
    explained = order_world.ok("policy", "explain", request).out
    assert explained.startswith("ALLOW: sign-work-order")
    assert "quota" in explained
    order_world.allowed_signers_of_nobody()
    assert order_world.run("package", "show", request).code == ExitCode.FINDINGS


def test_in_production_only_the_service_signs_orders(order_world: OrderWorld) -> None:
    prepared, service = order_world.prepare_order(), _prepare_service(order_world)
    order_world.make_production()
    for command, path in (("workorder", prepared), ("service", service)):
        failed = order_world.fails(ExitCode.POLICY, command, "issue", path, "-o", order_world.out / f"{command}.x")
        assert "SV-40" in failed
        assert not (order_world.out / f"{command}.x").exists()


def test_in_production_a_work_order_needs_two_groups(order_world: OrderWorld) -> None:
    order_world.make_production()
    prepared = order_world.prepare_order()
    request = order_world.request_order(prepared)
    one = order_world.approve(request, "ben")
    failed = order_world.fails(
        ExitCode.POLICY, "workorder", "sign", prepared, "--request", request, "--approval", one,
        "-o", order_world.out / "x.srw",
    )  # fmt: skip
    assert "PO-05" in failed
    two = order_world.approve(request, "cleo")
    order_world.ok(
        "workorder", "sign", prepared, "--request", request, "--approval", one, "--approval", two,
        "-o", order_world.out / "y.srw",
    )  # fmt: skip


def test_development_issues_at_once_and_logs_it(order_world: OrderWorld) -> None:
    signed = order_world.out / "lot.srw"
    order_world.ok("workorder", "issue", order_world.prepare_order(), "-o", signed)
    parse_work_order(signed.read_bytes()).verify(_public_key(order_world, label("production")))
    lines = order_world.ok("audit", "show", "--key", label("production"), "--json").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["sign-intent", "sign-result"]


def test_a_service_order_is_prepared_asked_for_approved_and_signed(order_world: OrderWorld) -> None:
    prepared = _prepare_service(order_world)
    request = order_world.request_order(prepared, "service")
    signed = order_world.sign_order(prepared, request, ("ben",), "service")
    order = parse_service_order(signed.read_bytes())
    order.verify(_public_key(order_world, label("service")))
    assert order.order.uid[:12] == b"\x11" * 12
    assert "return-for-repair" in order_world.ok("service", "show", signed).out


def test_a_service_order_takes_uid_and_nonce_from_the_devices_challenge(order_world: OrderWorld) -> None:
    raw = device_with_keys().challenge(HOST.public)
    told = order_world.out / "device.challenge"
    told.write_bytes(raw)
    out = order_world.out / "rma.srv"
    arguments = ("service", "prepare", "decommission", "-p", PRODUCT, "-o", out)
    assert "product id" in order_world.fails(ExitCode.VERIFICATION, *arguments, "--challenge", told)
    ours = order_world.repository.product(PRODUCT).id_bytes
    told.write_bytes(raw[:24] + ours + raw[40:])
    order_world.ok(*arguments, "--challenge", told)
    order = parse_prepared_service_order(out.read_bytes())
    assert (order.uid, order.nonce) == (raw[8:24], raw[64:96])
    order_world.fails(ExitCode.INPUT, *arguments[:-1], order_world.out / "x.srv", "--uid", "11" * 12)
    failed = order_world.fails(ExitCode.INPUT, "service", "prepare", "explode", *arguments[3:-1], order_world.out / "x")
    assert "there is no action" in failed


REFUSED: dict[str, tuple[str, dict[str, str]]] = {
    "quota of none": ("WO-04", {"quota": "0"}),
    "shares above the quota": ("WO-09", {"quota": "2"}),
    "an empty lot": ("WO-03", {"lot": ""}),
    "no bundle": ("WO-05", {"trust_bundle_min": "0"}),
    "protection unknown": ("WO-07", {"protection": "magic"}),
    "revisions the product has not": ("WO-23", {"hardware_revision": "1-9999"}),
    "longer than two years": ("WO-24", {"not_after": "731d"}),
    "already over": ("WO-24", {"not_after": "2020-01-02T00:00:00Z", "not_before": "2020-01-01T00:00:00Z"}),
    "a CA that is no lot's": ("WO-25", {"issuing_ca": "production-ca.pem"}),
    "a key that is no lot's": ("WO-20", {"lot_key": label("lot-ca")}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_with_its_rule_before_anybody_is_asked(order_world: OrderWorld, case: str) -> None:
    rule_id, changed = REFUSED[case]
    if "issuing_ca" in changed:
        changed = changed | {"issuing_ca": str(order_world.out / changed["issuing_ca"])}
    path = order_world.out / "refused.srw"
    assert rule_id in order_world.fails(ExitCode.POLICY, *order_world.order_arguments(path, **changed))
    assert not path.exists()


def test_wo_29_only_a_signed_order_of_a_current_production_key_verifies(order_world: OrderWorld) -> None:
    prepared = order_world.prepare_order()
    assert "WO-29" in order_world.fails(ExitCode.VERIFICATION, "workorder", "verify", prepared)
    signed = order_world.out / "lot.srw"
    order_world.ok("workorder", "issue", prepared, "-o", signed)
    failed = order_world.fails(
        ExitCode.VERIFICATION, "workorder", "verify", signed, "--signer-key", order_world.station
    )
    assert "WO-29" in failed


def test_wo_28_a_station_has_a_key_of_its_own(order_world: OrderWorld) -> None:
    lot = order_world.out / "lot.pem"
    order_world.ok("key", "export", label("lot"), "-o", lot)
    arguments = order_world.order_arguments(order_world.out / "x.srw", station=f"{lot}=3")
    assert "WO-28" in order_world.fails(ExitCode.POLICY, *arguments)


def test_a_leaked_lot_key_is_revoked_by_the_products_file(order_world: OrderWorld) -> None:
    """From then on no order is made with it, none verifies; the next trust bundle tells devices and stations."""
    signed = order_world.out / "lot.srw"
    order_world.ok("workorder", "issue", order_world.prepare_order(), "-o", signed)
    text = order_world.product_file.read_text(encoding="utf-8")
    text += f'\n[[trust.revoked]]\nlabel = "{label("lot")}"\n'
    order_world.product_file.write_text(text, encoding="utf-8")
    assert "WO-21" in order_world.fails(ExitCode.VERIFICATION, "workorder", "verify", signed)
    arguments = order_world.order_arguments(order_world.out / "again.srw")
    assert "WO-21" in order_world.fails(ExitCode.POLICY, *arguments)
    bundle = order_world.out / "trust-2.srb"
    order_world.ok(
        "bundle", "rotate", "-p", PRODUCT, "--previous", order_world.root / "public" / "trust-1.srb", "-o", bundle
    )
    lot_key = _public_key(order_world, label("lot"))
    revoked = order_world.ok("bundle", "show", bundle, "--json").json["revoked"]
    assert lot_key.key_id.hex() in str(revoked)


def test_doctor_and_audit_take_the_new_roles_for_what_they_are(order_world: OrderWorld) -> None:
    order_world.ok("key", "audit", "ca")
    order_world.ok("doctor")


def _prepare_service(world: OrderWorld, *options: str | Path) -> Path:
    path = world.out / "rma.prepared.srv"
    world.ok(
        "service", "prepare", "return-for-repair", "-p", PRODUCT, "--uid", "11" * 12, "--nonce", "22" * 32,
        *options, "-o", path,
    )  # fmt: skip
    return path


def _public_key(world: OrderWorld, key_label: str) -> PublicKey:
    path = world.out / f"{key_label.replace(':', '.')}.pem"
    if not path.exists():
        world.ok("key", "export", key_label, "-o", path)
    return read_public_key(path)
