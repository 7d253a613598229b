"""Every state that a power cut can leave of a run of flash operations, made from the log of one run.

Running up to each operation again would cost the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bootloader.simulation.sim_flash import FlashSnapshot, Operation, PowerCut, SimFlash, Tear

ALL_TEARS = tuple(Tear)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where and how the power failed: at this operation of the run (from 0), which went to this address."""

    operation_number: int
    operation: Operation
    tear: Tear


def single_operations(log: Sequence[Operation], write_unit_bytes: int) -> Iterator[Operation]:
    """The operations of a log one by one: a program call is as many as it has write units."""
    for operation in log:
        if operation.data is None:
            yield operation
            continue
        for begin in range(0, len(operation.data), write_unit_bytes):
            yield Operation(operation.address + begin, operation.data[begin : begin + write_unit_bytes])


def each_cut(
    flash: SimFlash, start: FlashSnapshot, log: Sequence[Operation], tears: Sequence[Tear] = ALL_TEARS
) -> Iterator[Cut]:
    """Leave in `flash` what each cut would have left, one after the other; the body of the loop powers on and goes on.

    `start` is the snapshot before the run that `log` records. The number of the operation seeds what is left to chance.
    """
    before = start
    for number, operation in enumerate(single_operations(log, flash.write_unit_bytes)):
        for tear in tears:
            flash.restore(before)
            flash.log = None
            flash.seed(number)
            flash.cut_power_at(0, tear)
            try:
                flash.replay([operation])
            except PowerCut:
                yield Cut(number, operation, tear)
        flash.restore(before)
        flash.replay([operation])
        before = flash.snapshot()
