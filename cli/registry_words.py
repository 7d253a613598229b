"""The registry's answers as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cli.output import table

if TYPE_CHECKING:
    from provisioning.registry.life import Life
    from provisioning.registry.reconciliation import Reconciliation

LIST_COLUMNS = ("uid", "serial", "lot", "lifecycle", "trust_bundle_version", "application_version", "heard_at")
_SUMS = ("sub_quota", "begun", "injected", "failed", "scrapped", "unaccounted", "left", "refused")
_PROTECTION = (
    "readout protection",
    "readout level 2",
    "pre-bootloader write-protected",
    "brown-out level",
    "debug closed",
)


def day_and_time(stored: str | None) -> str:
    """A stored time without its fractions."""
    return "" if stored is None else f"{stored[:10]} {stored[11:19]}"


def devices_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The most asked-for columns."""
    cells = [[_cell(name, row[name]) for name in LIST_COLUMNS] for row in rows]
    return table([name.upper().replace("_", " ") for name in LIST_COLUMNS], cells)


def _cell(name: str, value: Any) -> str:
    if name.endswith("_at"):
        return day_and_time(value)
    return "" if value is None else str(value)


def life_text(life: Life) -> str:
    """What a device is, then what happened, in order."""
    return "\n".join((*_present(life), "", *_past(life)))


def _present(life: Life) -> Iterator[str]:
    device = life.device
    yield f"device {device['uid']} of product {device['product_id']}: {device['lifecycle']}"
    if device["serial"]:
        yield f"serial number {device['serial']}"
    yield f"lot {device['lot']}, hardware revision {device['hardware_revision']}, order {device['order_id']}"
    bits = [name for bit, name in enumerate(_PROTECTION) if device["protection"] >> bit & 1]
    yield f"protection: {', '.join(bits) or 'none'}"
    yield f"trust bundle {device['trust_bundle_version']}, since {day_and_time(device['trust_bundle_since'])}"
    yield f"application {device['application_version'] or 'none'}"
    for key in life.keys:
        yield f"{key['role']} key {key['key_id']}, {_span(key)}"
    for certificate in life.certificates:
        yield f"certificate {certificate['serial_number']}, {_span(certificate)}"
    heard = (
        f", from {day_and_time(life.first_status_at)} to {day_and_time(life.last_status_at)}" if life.statuses else ""
    )
    yield f"{life.statuses} signed statuses{heard}"


def _span(row: Mapping[str, Any]) -> str:
    ended = f" until {day_and_time(row['until'])}" if row["until"] else ""
    return f"since {day_and_time(row['since'])}{ended}"


def _past(life: Life) -> Iterator[str]:
    for event in life.events:
        yield f"{day_and_time(event.at)}  {event.kind:<8}  {event.text}"


def reconciliation_text(found: Reconciliation, problems: Sequence[str]) -> str:
    """The table, and what its sums must be."""
    headings = ["STATION", *(name.upper().replace("_", " ") for name in _SUMS)]
    rows = [[station.station[:16], *(str(getattr(station, name)) for name in _SUMS)] for station in found.stations]
    rows.append(["in all", *(str(found.total(name)) for name in _SUMS)])
    lines = [
        f"order {found.order_id}, product {found.product_id}, lot {found.lot}, until {day_and_time(found.not_after)}",
        f"ordered {found.ordered}, of which {found.unassigned} are assigned to no station",
        "",
        table(headings, rows).rstrip("\n"),
        "",
        "must hold: begun = injected + failed + scrapped + unaccounted; sub-quota = begun + left;",
        "ordered = sub-quotas + unassigned. `refused` boards were never counted.",
    ]
    lines += [f"DOES NOT HOLD: {problem}" for problem in problems] or ["every sum holds"]
    return "\n".join(lines)


def frozen_text(rows: Iterable[Mapping[str, Any]], bundle: int, counts: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Line by line: how many have which bundle, then who has not moved."""
    for version, count in counts:
        yield f"bundle {version}: {count} devices\n"
    for row in rows:
        yield (
            f"{row['uid']}  bundle {row['trust_bundle_version']} since {day_and_time(row['since'])}, heard "
            f"{day_and_time(row['heard_at'])}, lot {row['lot']}{', ' + row['serial'] if row['serial'] else ''}\n"
        )
    if all(version >= bundle for version, _ in counts):
        yield f"every operational device has bundle {bundle} or a newer one\n"
