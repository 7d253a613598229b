"""What station commands say of orders, ledgers and verdicts, as fields for JSON and words for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pki.values import PublicKey
    from provisioning.station.boards import Boards
    from provisioning.station.facts import Verdict
    from signer.device_objects.work_order import SignedWorkOrder


def order_fields(order: SignedWorkOrder, station_key: PublicKey) -> dict[str, Any]:
    """The order, as far as this station is concerned."""
    share = order.order.station(station_key.spki_sha256)
    return {
        "order_id": order.order.order_id.hex(),
        "lot": order.order.lot,
        "station": station_key.key_id.hex(),
        "sub_quota": share.sub_quota if share is not None else 0,
        "not_before": _time(order.order.not_before),
        "not_after": _time(order.order.not_after),
    }


def count_fields(boards: Boards) -> dict[str, int]:
    """Who was counted, and what became of them."""
    return {
        "records": boards.number,
        "begun": boards.begun,
        "activated": boards.activated,
        "waiting": boards.open,
        "failures": boards.failures,
        "scrapped": boards.scrapped,
        "left": boards.sub_quota - boards.begun,
    }


def verdict_fields(nest: int, verdict: Verdict, seconds: float) -> dict[str, Any]:
    """One board."""
    return {
        "nest": nest,
        "passed": verdict.passed,
        "uid": verdict.uid.hex() if verdict.uid is not None else None,
        "serial": verdict.serial or None,
        "sequence": verdict.sequence,
        "rule": verdict.rule.value if verdict.rule is not None else None,
        "text": verdict.text,
        "seconds": round(seconds, 3),
    }


def verdict_line(nest: int, verdict: Verdict) -> str:
    """One board in one line."""
    word = "PASS" if verdict.passed else "FAIL"
    who = verdict.uid.hex() if verdict.uid is not None else "no UID"
    number = f"  number {verdict.sequence}" if verdict.sequence is not None else ""
    return f"nest {nest}  {word}  {who}{number}  {verdict.text}"


def _time(seconds: int) -> str | int:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return seconds
