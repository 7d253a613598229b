"""Whatever bytes a file of births or a report has: it is read, or refused by an error of ours, in one line."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import StrongroomError
from provisioning.registry.births_file import BirthsFile
from provisioning.registry.proofs import RecordProofs
from provisioning.registry.reports import _read
from provisioning.registry.trust import issuing_ca, require_order_signed
from tests.registry.production_line import NOW, Board, Key, Line, Station

MUTATIONS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4
)
"""(place as a part of the whole, what is put there, how many bytes it replaces)."""


@cache
def births() -> tuple[Line, bytes]:
    line, key = Line.new(5), Key.new()
    station = Station(line, key, line.order({key: 5}))
    station.make(Board.new(1, "SN-1"))
    station.fail(Board.new(2))
    return line, station.file()


def mutated(data: bytes, mutations: list[tuple[float, bytes, int]]) -> bytes:
    for place, put, replaced in mutations:
        at = int(place * len(data))
        data = data[:at] + put + data[at + replaced :]
    return data


def read(line: Line, data: bytes) -> int:
    file = BirthsFile(io.BytesIO(data))
    require_order_signed(file.order, line.trust)
    issuer, _ = issuing_ca(line.authority.lot.public.spki_sha256, line.authority.chain, NOW)
    proofs = RecordProofs(file.order.order, issuer, NOW)
    return len([proofs.prove(taken) for taken in file.records()])


def test_the_file_itself_is_read() -> None:
    assert read(*births()) == 3


@given(MUTATIONS)
def test_a_changed_file_is_refused_by_an_error_of_ours(mutations: list[tuple[float, bytes, int]]) -> None:
    line, data = births()
    changed = mutated(data, mutations)
    if changed == data:
        return
    with pytest.raises(StrongroomError) as caught:  # every byte is under a signature, or has one form only
        read(line, changed)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for whole in (data, b"{" + data, b'{"format":"strongroom-births-1"}\n' + data):
        with pytest.raises(StrongroomError):
            BirthsFile(io.BytesIO(whole))


@given(MUTATIONS)
def test_a_changed_report_is_read_or_refused(mutations: list[tuple[float, bytes, int]]) -> None:
    report = {
        "format": "strongroom-update-report-1",
        "ended_at": NOW.isoformat(),
        "verified": True,
        "devices": [{"signed_status": Board.new(1).status(bytes(32)).hex()}, {"signed_status": None}],
    }
    with suppress(StrongroomError):
        _read(mutated(json.dumps(report).encode(), mutations))
