"""`strongroom registry` as people use it. What is verified, on either database, is the business of tests/registry."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.cert_files import CERTIFICATE, to_pem
from cli.exit_codes import ExitCode
from cli.main import run
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme, Signature
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.encoding import assemble
from signer.trust_bundles.signing import add_signature
from tests.cli.world import PROGRAM, Result
from tests.registry.production_line import ORDER, PRODUCT, RMA, Board, Key, Line, Station, sha256
from tests.registry.test_grants import boards, grant_file
from tests.registry.test_lives import NONCE, service_digest, service_order
from tests.registry.world import new_station

LIMITS = SecurityVersionLimits(1, 100)


@dataclass(frozen=True)
class Root:
    """A root of the trust bundle."""

    key: Key

    @property
    def public_key(self) -> PublicKey:
        return self.key.public

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        return self.key.sign(digest)


def trust_bundle(line: Line, *, signed: bool = True, revoked: bytes | None = None) -> bytes:
    root = Root(Key.new())
    keys = [(Role.SERVICE, line.service), (Role.GRANT, line.grant)]
    keys += [(Role.PRODUCTION, line.production)] if revoked is None else []
    content = TrustBundleContent(
        product_id=PRODUCT,
        version=1,
        previous_digest=bytes(32),
        root_threshold=1,
        roots=(root.public_key,),
        role_keys=tuple(RoleKey(role, key.public) for role, key in keys),
        revoked=() if revoked is None else (RevokedKey(revoked),),
        application_limits=LIMITS,
        bootloader_limits=LIMITS,
        factory_test_limits=LIMITS,
    )
    bundle = assemble(content, ())
    return add_signature(bundle, root) if signed else bundle


@dataclass
class Desk:
    """A folder with a registry, and files to import."""

    folder: Path
    line: Line
    station: Station

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'registry.sqlite'}"

    @property
    def trust(self) -> tuple[str | Path, ...]:
        return ("--bundle", self.folder / "trust-1.srb", "--ca-certificates", self.folder / "ca.pem")

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def run(self, *arguments: str | Path) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(["registry", *map(str, arguments)])
        return Result(int(code), out.getvalue(), err.getvalue())

    def ok(self, *arguments: str | Path) -> Result:
        result = self.run(*arguments)
        assert result.code == ExitCode.OK, result
        return result

    def fails(self, code: ExitCode, *arguments: str | Path) -> str:
        result = self.run(*arguments)
        assert result.code == code, result
        assert result.out == ""
        return result.error

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.ok(*arguments, "--json").out)


@pytest.fixture(scope="module")
def line() -> Line:
    return Line.new(seed=2)


@pytest.fixture(scope="module")
def made(line: Line) -> Station:
    station = new_station(line)
    for number, serial in enumerate(["SN-1", "=HYPERLINK()", ""], start=1):
        station.make(Board.new(number, "(01)1" if serial.startswith("=") else serial))
    return station


@pytest.fixture
def desk(tmp_path: Path, line: Line, made: Station, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An empty registry, which commands find by the environment; no authority around."""
    found = Desk(tmp_path, line, made.copy())
    found.write("trust-1.srb", trust_bundle(line))
    found.write("ca.pem", b"".join(to_pem(der, CERTIFICATE) for der in line.authority.chain))
    found.write("line.births", made.file())
    monkeypatch.setenv("STRONGROOM_REGISTRY", found.url)
    monkeypatch.chdir(tmp_path)
    found.ok("init")
    return found


@pytest.fixture
def filled(desk: Desk) -> Desk:
    desk.ok("import", "line.births", *desk.trust)
    return desk


def test_a_registry_is_made_filled_and_asked(desk: Desk) -> None:
    (taken,) = desk.json("import", "line.births", *desk.trust)
    assert taken["kind"] == "births"
    assert taken["events"] == {"activated": 3, "begun": 3}
    again = desk.ok("import", "line.births")
    assert "nothing new: records until 6 are known" in again.err
    table = desk.ok("list").out
    assert table.splitlines()[0].split() == [
        "UID",
        "SERIAL",
        "LOT",
        "LIFECYCLE",
        "TRUST",
        "BUNDLE",
        "VERSION",
        "APPLICATION",
        "VERSION",
        "HEARD",
        "AT",
    ]
    assert table.count("operational") == 3
    uids = [row["uid"] for row in desk.json("list", "--lifecycle", "operational", "--lot", "2026-48")]
    assert uids == [Board.new(number).uid.hex() for number in (1, 2, 3)]
    (order,) = desk.json("orders")
    assert order["quota"] == 10
    assert "2026-48" in desk.ok("orders").out


def test_a_list_says_when_it_is_not_all(filled: Desk) -> None:
    result = filled.ok("list", "--limit", "2", "--json")
    assert len(json.loads(result.out)) == 2
    assert "more than 2" in result.err
    assert filled.ok("list", "--serial", "none").out == "no such devices\n"


def test_a_life_is_told(filled: Desk) -> None:
    text = filled.ok("show", Board.new(1).uid.hex()[:24]).out
    assert (
        text.splitlines()[0]
        == f"device {Board.new(1).uid.hex()} of product 6f1c2e3a-4b5d-4c7e-8f90-a1b2c3d4e5f6: operational"
    )
    begun, activated = (text.index(word) for word in ("begun at station", "activated at station"))
    assert begun < activated
    assert "protection: readout protection, pre-bootloader write-protected, brown-out level, debug closed" in text
    life = filled.json("show", Board.new(1).uid.hex())
    assert [event["kind"] for event in life["events"]] == ["birth", "birth", "bundle", "firmware", "firmware"]
    assert filled.fails(ExitCode.REGISTRY, "show", "00" * 11 + "09").startswith("error: [RG-23]")
    filled.fails(ExitCode.INPUT, "show", "xyz")


def test_an_order_is_reconciled(filled: Desk) -> None:
    text = filled.ok("reconcile", "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9").out
    assert "ordered 10" in text
    assert "every sum holds" in text
    assert "in all" in text
    data = filled.json("reconcile", ORDER.hex())
    assert data["total"]["injected"] == 3
    assert data["problems"] == []
    filled.fails(ExitCode.REGISTRY, "reconcile", "00000000-0000-0000-0000-000000000001")
    filled.fails(ExitCode.INPUT, "reconcile", "seven")


def test_a_status_moves_a_device_and_freezes_tell_of_the_others(filled: Desk) -> None:
    board = next(board for board in filled.station.boards.values() if board.serial == "SN-1")
    status = board.status(NONCE, trust_bundle_version=2, application=((1, 2, 0, 4), 7, sha256(b"head")))
    filled.write("status.srs", status)
    assert filled.json("status", "status.srs", "--nonce", NONCE.hex())["new"] is True
    assert filled.json("status", "status.srs", "--nonce", NONCE.hex())["new"] is False
    filled.fails(ExitCode.VERIFICATION, "status", "status.srs", "--nonce", "00" * 32)
    result = filled.run("freezes", "--bundle", "2", "--json")
    assert result.code == ExitCode.FINDINGS
    assert result.json["bundles"] == {"1": 2, "2": 1}
    assert [one["uid"] for one in result.json["frozen"]] == [Board.new(number).uid.hex() for number in (2, 3)]
    text = filled.run("freezes", "--bundle", "2").out
    assert text.splitlines()[:2] == ["bundle 1: 2 devices", "bundle 2: 1 devices"]
    assert "every operational device has bundle 1" in filled.ok("freezes", "--bundle", "1").out
    filled.write("status.srs", board.status(NONCE, trust_bundle_version=1))
    result = filled.run("status", "status.srs", "--nonce", NONCE.hex())
    assert result.code == ExitCode.FINDINGS
    assert "[RG-41]" in result.out


def test_service_orders_and_grants_are_imported(filled: Desk) -> None:
    board = filled.station.boards[1]
    grants = grant_file(filled.line, filled.folder / "g.srg", boards(filled.station))
    (taken,) = filled.json("import", grants, *filled.trust)
    assert (taken["kind"], taken["devices"], taken["new"]) == ("grants", 3, True)
    order = service_order(filled.line, board, 1)
    filled.write("rma.srv", order)
    filled.write("rma.receipt", board.receipt(service_digest(order), NONCE, RMA))
    filled.fails(ExitCode.POLICY, "import", "rma.srv", *filled.trust)
    (taken,) = filled.json("import", "rma.srv", "--receipt", "rma.receipt", *filled.trust)
    assert (taken["kind"], taken["new"]) == ("service", True)
    text = filled.ok("show", board.uid.hex()).out
    assert "granted package" in text
    assert "service order return-for-repair, with its receipt" in text
    listed = filled.ok("export", "--grants").out.splitlines()
    assert listed[0] == "uid,agreement_public_key"
    assert len(listed) == 3, "the one that came back is not operational"


def test_an_order_is_imported_before_its_births(desk: Desk) -> None:
    desk.write("order.srw", desk.station.order)
    (taken,) = desk.json("import", "order.srw", *desk.trust)
    assert taken == {"kind": "order", "new": True, "text": "work order taken"}
    assert desk.json("reconcile", ORDER.hex())["total"]["left"] == 10


def test_devices_are_exported(filled: Desk) -> None:
    rows = list(csv.DictReader(io.StringIO(filled.ok("export").out)))
    assert [row["serial"] for row in rows] == ["SN-1", "(01)1", ""]
    as_json = filled.json("export", "--hardware-revision", "3")
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in as_json] == rows
    filled.ok("export", "--grants", "--product", "6f1c2e3a-4b5d-4c7e-8f90-a1b2c3d4e5f6", "--out", "query.csv")
    assert (filled.folder / "query.csv").read_text() == filled.ok("export", "--grants").out
    filled.fails(ExitCode.OUTPUT, "export", "--out", "query.csv")
    assert filled.ok("export", "--grants", "--where-bundle-below", "1").out == "uid,agreement_public_key\n"
    assert filled.run("export", "--grants", "--json").code == ExitCode.USAGE


def test_nobody_is_believed_unasked(desk: Desk) -> None:
    """Without an authority around, and without files, no order is believed."""
    assert "[BR-11]" in desk.fails(ExitCode.VERIFICATION, "import", "line.births")
    assert "[RG-04]" in desk.fails(ExitCode.VERIFICATION, "import", "line.births", "--bundle", "trust-1.srb")
    desk.write("unsigned.srb", trust_bundle(desk.line, signed=False))
    desk.fails(ExitCode.INPUT, "import", "line.births", "--bundle", "unsigned.srb")
    desk.fails(ExitCode.INPUT, "import", "line.births", "--bundle", "ca.pem")
    desk.fails(ExitCode.INPUT, "import", "line.births", "--bundle", "trust-1.srb", "--ca-certificates", "trust-1.srb")
    desk.write("revoked.srb", trust_bundle(desk.line, revoked=desk.line.production.public.key_id))
    both = ("--bundle", "revoked.srb", *desk.trust)
    assert "[RG-03]" in desk.fails(ExitCode.VERIFICATION, "import", "line.births", *both)
    assert desk.json("list") == []


def test_bad_files_are_refused_in_one_line(desk: Desk) -> None:
    desk.write("empty", b"")
    desk.write("text", b"hello")
    desk.write("cut.births", desk.station.file()[:-10])
    desk.fails(ExitCode.INPUT, "import", "empty", *desk.trust)
    assert ".births" in desk.fails(ExitCode.INPUT, "import", "text", *desk.trust)
    desk.fails(ExitCode.INPUT, "import", "missing", *desk.trust)
    desk.fails(ExitCode.INPUT, "import", ".", *desk.trust)
    assert "[BR-10]" in desk.fails(ExitCode.POLICY, "import", "cut.births", *desk.trust)
    desk.write("short.srw", desk.station.order[:-1])
    desk.fails(ExitCode.INPUT, "import", "short.srw", *desk.trust)


def test_a_password_in_the_address_is_refused_and_not_repeated(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    error = desk.fails(ExitCode.CONFIGURATION, "list", "--registry", "postgresql://maker:s3cret@host/registry")
    assert "[RG-02]" in error
    assert "PGPASSFILE" in error
    assert "s3cret" not in error
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    error = desk.fails(ExitCode.CONFIGURATION, "list")
    assert "[RG-02]" in error
    assert "s3cret" not in error


def test_registries_that_cannot_be_used(desk: Desk) -> None:
    desk.fails(ExitCode.OUTPUT, "init")
    error = desk.fails(ExitCode.REGISTRY, "list", "--registry", "sqlite:///none.sqlite")
    assert "strongroom registry init" in error
    desk.fails(ExitCode.REGISTRY, "list", "--registry", "sqlite:///line.births")
    desk.fails(ExitCode.CONFIGURATION, "list", "--registry", "mysql://host/registry")
    assert desk.json("upgrade")["before"] == desk.json("upgrade")["after"]


def test_as_a_process_of_its_own(filled: Desk) -> None:
    done = subprocess.run(
        [PROGRAM, "registry", "list", "--json"],
        cwd=filled.folder,
        env={**os.environ, "STRONGROOM_REGISTRY": filled.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert len(json.loads(done.stdout)) == 3
    assert done.stderr == ""
