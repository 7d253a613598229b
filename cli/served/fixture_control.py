"""What the control socket of a simulated fixture understands (docs/spec/fixture.md). Pure but for the boards."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootloader.reference.codes import Refused
from bootloader.reference.crypto import public_point
from bootloader.reference.journal_half import half_regions, read_journal
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import SimulatedDevice
from cli.device_session import TearChoice
from cli.served.bench import Bench, BoardUnknown
from cli.served.fixture_request import RequestFields, parse_request
from cli.served.nest import Nest, Refusal
from cli.served.options import FaultOptions
from pki.errors import StrongroomError

VERSION = 1
REQUEST_SIZE_BYTES_MAX = 8 * 1024 * 1024
WAIT_SECONDS_MAX = 3600.0

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """A request that is answered later: when the nest has a board, or none; or when its time is over."""

    nest: Nest
    board: bool
    seconds: float

    @property
    def is_reached(self) -> bool:
        return (self.nest.uid is not None) is self.board


class FixtureControl:
    """Carries out one request after the other."""

    def __init__(self, bench: Bench, nests: Sequence[Nest]) -> None:
        self._bench = bench
        self._nests = list(nests)
        self._of_nests: Mapping[str, Callable[[Nest, RequestFields], Answer | Wait]] = {
            "insert": self._insert,
            "remove": _plain(Nest.remove),
            "wait": self._wait,
            "read-uid": self._read_uid,
            "read-option-bytes": self._read_option_bytes,
            "set-option-bytes": self._set_option_bytes,
            "read-flash": self._read_flash,
            "erase": _plain(Nest.erase),
            "program": self._program,
            "power-cycle": self._power_cycle,
            "power-off": _plain(Nest.power_off),
            "power-on": _plain(Nest.power_on),
            "cut-power": self._cut_power,
            "link-faults": self._link_faults,
        }
        self._of_bench: Mapping[str, Callable[[RequestFields], Answer]] = {
            "describe": self._describe,
            "list": lambda _: {"uids": [uid.hex() for uid in self._bench.uids()]},
            "look": self._look,
            "forget": self._forget,
        }

    def carry_out(self, line: bytes) -> Answer | Wait:
        """The answer to one request; a Wait is answered later."""
        try:
            fields = RequestFields(parse_request(line))
            what = fields.text("do")
            if (of_bench := self._of_bench.get(what)) is not None:
                answer: Answer | Wait = of_bench(fields)
            elif (of_nests := self._of_nests.get(what)) is not None:
                answer = of_nests(self._nest(fields), fields)
            else:
                raise Refusal(f"unknown request {what!r}")
            return answer if isinstance(answer, Wait) else {"ok": True, **answer}
        except Refusal as refusal:
            return {"ok": False, "error": str(refusal)}
        except BoardUnknown:
            return {"ok": False, "error": "no board with this UID has been here"}
        except (Refused, StrongroomError) as error:
            return {"ok": False, "error": str(error)}

    def _nest(self, fields: RequestFields) -> Nest:
        return self._nests[int(fields.number("nest", len(self._nests) - 1))]

    # --- the operator's hands ---

    def _insert(self, nest: Nest, fields: RequestFields) -> Answer:
        uid, flash = fields.binary_hex("uid"), fields.text("flash", "factory")
        clone_of = fields.binary_hex("clone_of") if fields.has("clone_of") else None
        fields.demand_no_more()
        if len(uid) != self._bench.board.uid_size_bytes:
            raise Refusal(f"a UID of {self._bench.board.name} has {self._bench.board.uid_size_bytes} bytes")
        if flash not in ("factory", "blank"):
            raise Refusal("flash: factory or blank")
        if any(other.uid == uid for other in self._nests) or nest.uid is not None:
            raise Refusal("the nest has a board in it, or the board is in a nest already")
        known = self._bench.knows(uid)
        if not known and clone_of is not None:
            self._bench.make(uid, self._device(clone_of).flash.snapshot())
        elif not known:
            self._bench.make(uid, self._bench.flashed if flash == "factory" else self._bench.blank)
        nest.insert(self._bench, uid)
        return {"known": known}

    def _wait(self, nest: Nest, fields: RequestFields) -> Wait:
        wait = Wait(nest, fields.flag("board"), fields.number("seconds", WAIT_SECONDS_MAX))
        fields.demand_no_more()
        return wait

    # --- the probe ---

    def _read_uid(self, nest: Nest, fields: RequestFields) -> Answer:
        fields.demand_no_more()
        return {"uid": nest.device.uid.hex()}

    def _read_option_bytes(self, nest: Nest, fields: RequestFields) -> Answer:
        fields.demand_no_more()
        option_bytes = nest.device.platform.option_bytes
        return {
            "readout_level": option_bytes.readout_level,
            "write_protect": option_bytes.write_protect,
            "brown_out": option_bytes.brown_out,
            "debug_closed": option_bytes.debug_closed,
        }

    def _set_option_bytes(self, nest: Nest, fields: RequestFields) -> Answer:
        changes: dict[str, Any] = {}
        if fields.has("readout_level"):
            changes["readout_level"] = int(fields.number("readout_level", 2))
        for name in ("write_protect", "brown_out", "debug_closed"):
            if fields.has(name):
                changes[name] = fields.flag(name)
        fields.demand_no_more()
        nest.set_option_bytes(changes)
        return {}

    def _read_flash(self, nest: Nest, fields: RequestFields) -> Answer:
        as_hash = fields.flag("hash", default=False)
        fields.demand_no_more()
        read = nest.read_flash(as_hash=as_hash)
        content = {"sha256": read.hex()} if as_hash else {"data": base64.b64encode(read).decode()}
        return {"address": self._bench.board.flash_address, **content}

    def _program(self, nest: Nest, fields: RequestFields) -> Answer:
        blocks = fields.blocks("blocks") if fields.has("blocks") else self._bench.factory_blocks
        fields.demand_no_more()
        nest.program(blocks)
        return {}

    # --- supply and wire ---

    def _power_cycle(self, nest: Nest, fields: RequestFields) -> Answer:
        fields.demand_no_more()
        nest.power_off()
        nest.power_on()
        return {}

    def _cut_power(self, nest: Nest, fields: RequestFields) -> Answer:
        operation, tear = int(fields.number("operation", 1 << 32)), fields.text("tear", "torn")
        seed, stays_off = int(fields.number("seed", 1 << 32, 0)), fields.flag("stays_off", default=False)
        fields.demand_no_more()
        if tear not in list(TearChoice):
            raise Refusal(f"tear: one of {', '.join(TearChoice)}")
        nest.cut_power(operation, TearChoice(tear).tear, seed, stays_off=stays_off)
        return {}

    def _link_faults(self, nest: Nest, fields: RequestFields) -> Answer:
        shares = {name: fields.number(name, 1, 0) for name in ("lose", "corrupt", "duplicate", "reorder")}
        seed = int(fields.number("seed", 1 << 32, 0))
        fields.demand_no_more()
        nest.set_faults(FaultOptions(**shares, seed=seed))
        return {}

    # --- the judge ---

    def _describe(self, fields: RequestFields) -> Answer:
        fields.demand_no_more()
        links = [{"nest": nest.number, "via": nest.endpoint.via} for nest in self._nests]
        return {"version": VERSION, "board": self._bench.board.text, "links": links}

    def _look(self, fields: RequestFields) -> Answer:
        uid, secrets = fields.binary_hex("uid"), fields.flag("secrets", default=False)
        fields.demand_no_more()
        device = self._device(uid)
        return _inside(device, secrets=secrets)

    def _forget(self, fields: RequestFields) -> Answer:
        uid = fields.binary_hex("uid")
        fields.demand_no_more()
        if any(nest.uid == uid for nest in self._nests):
            raise Refusal("the board is in a nest")
        self._bench.forget(uid)
        return {}

    def _device(self, uid: bytes) -> SimulatedDevice:
        for nest in self._nests:
            if nest.uid == uid:
                return nest.device
        return self._bench.look(uid)


def encode_answer(answer: Answer) -> bytes:
    """One line."""
    return json.dumps(answer).encode() + b"\n"


def _plain(action: Callable[[Nest], None]) -> Callable[[Nest, RequestFields], Answer]:
    """A request that has no keys of its own, and no answer but that it was done."""

    def carry_out(nest: Nest, fields: RequestFields) -> Answer:
        fields.demand_no_more()
        action(nest)
        return {}

    return carry_out


def _inside(device: SimulatedDevice, *, secrets: bool) -> Answer:
    """What flash says, read beside the bootloader's back."""
    if device.flash.is_power_lost:
        device.flash.power_on()
    data = [device.flash.read(part.address, device.board.state_half_size_bytes) for part in half_regions(device.board)]
    halves, active = read_journal(data[0], data[1])
    half = halves[active] if active is not None else None
    state = half.state if half is not None else DeviceState()
    keys, activated = state.keys, state.activated
    inside: Answer = {
        "lifecycle": state.device.lifecycle if state.device is not None else 0,
        "simulation_only": state.device is not None and state.device.is_simulation_only,
        "identity_public_key": public_point(keys.identity_private).hex() if keys is not None else None,
        "order_id": activated.order_id.hex() if activated is not None else None,
        "activation_digest": activated.activation_digest.hex() if activated is not None else None,
        "flash_operations": device.flash.operation_count,
    }
    if secrets:
        inside["identity_private"] = keys.identity_private.hex() if keys is not None else None
        inside["agreement_private"] = keys.agreement_private.hex() if keys is not None else None
        inside["group_private"] = state.group_key.agreement_private.hex() if state.group_key is not None else None
    return inside
