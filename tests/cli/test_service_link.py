"""`strongroom service challenge` and `send` against a served device: the order's way there, the receipt's way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import Lifecycle
from bootloader.simulation.device import InUpdateMode
from cli.exit_codes import ExitCode
from cli.main import run
from tests.links.served import Served, device_in, serving, write_devices
from tests.scenarios.life import device_at_work
from tests.unit.reference.life_builders import (
    CHALLENGE_FIELDS,
    REPAIR,
    ServicePlan,
    build_service_order,
    part,
    receipt_is_genuine,
)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return write_devices(tmp_path, [device_at_work()])[0]


@pytest.fixture
def served(device: Path) -> Iterator[Served]:
    with serving([device]) as running:
        yield running


def command(*arguments: str | Path) -> int:
    return int(run(["service", *map(str, arguments)]))


def ordered(tmp_path: Path, via: str) -> Path:
    """A signed order for the challenge that the device has just been asked for."""
    challenge = tmp_path / "pump.challenge"
    assert command("challenge", "--via", via, "-o", challenge) == ExitCode.OK
    order = tmp_path / "rma.srv"
    order.write_bytes(build_service_order(ServicePlan(action=REPAIR), challenge.read_bytes()))
    return order


def test_a_device_in_use_is_returned_for_repair(
    tmp_path: Path, device: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    (via,) = served.vias
    order, receipt = ordered(tmp_path, via), tmp_path / "rma.receipt"
    assert "proved that it has its keys" in capsys.readouterr().out
    assert command("send", order, "--via", via, "-o", receipt) == ExitCode.OK
    assert "return-for-repair; receipt signed, by a key that nobody vouched for" in capsys.readouterr().out
    identity = part(CHALLENGE_FIELDS, (tmp_path / "pump.challenge").read_bytes(), "identity_public_key")
    assert receipt_is_genuine(receipt.read_bytes(), identity)
    served.stop()
    left = device_in(device)
    assert isinstance(left.power_on(), InUpdateMode)
    status = left.status()
    assert status.device.lifecycle == Lifecycle.RMA
    assert status.identity_public_key is None
    assert status.installed is None


def test_an_order_is_not_sent_where_its_receipt_cannot_be_kept(tmp_path: Path, served: Served) -> None:
    (via,) = served.vias
    order, receipt = ordered(tmp_path, via), tmp_path / "rma.receipt"
    receipt.write_text("an earlier one", encoding="utf-8")
    assert command("send", order, "--via", via, "-o", receipt) == ExitCode.OUTPUT
    assert receipt.read_text(encoding="utf-8") == "an earlier one"
    receipt.unlink()
    assert command("send", order, "--via", via, "-o", receipt) == ExitCode.OK  # the nonce was still there


def test_an_order_for_an_older_challenge_is_refused_and_leaves_no_receipt(
    tmp_path: Path, device: Path, served: Served
) -> None:
    (via,) = served.vias
    order, receipt = ordered(tmp_path, via), tmp_path / "rma.receipt"
    assert command("challenge", "--via", via, "-o", tmp_path / "newer.challenge") == ExitCode.OK
    assert command("send", order, "--via", via, "-o", receipt) == ExitCode.REFUSED_BY_DEVICE
    assert not receipt.exists()
    served.stop()
    left = device_in(device).status()
    assert left.device.lifecycle == Lifecycle.OPERATIONAL
    assert left.events[-1].code == DeviceCode.WRONG_NONCE


def test_a_device_that_the_registry_does_not_know_is_not_believed(tmp_path: Path, served: Served) -> None:
    (via,) = served.vias
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    assert run(["registry", "init", "--registry", url]) == ExitCode.OK
    out = tmp_path / "pump.challenge"
    assert command("challenge", "--via", via, "-o", out, "--registry", url) == ExitCode.INPUT
    assert not out.exists()


def test_an_order_is_for_one_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.challenge"
    assert command("challenge", "--via", "star:serial:a,serial:b", "-o", out) == ExitCode.INPUT
    assert "a service order is for one" in capsys.readouterr().err
