"""Where an upload goes next: the device says it (protocol.md, sections 3 and 9; rule LK-05)."""

from __future__ import annotations

import pytest

from rpc.errors import LinkError, MessageMalformed
from rpc.upload import (
    REQUESTS_BESIDE_MAX,
    REQUESTS_PER_BLOCK_MAX,
    SETBACKS_MAX,
    UNCHANGED_MAX,
    UploadPosition,
)


def test_blocks_follow_each_other_to_the_end() -> None:
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000)
    sizes = []
    while not position.is_complete:
        sizes.append(position.next_size_bytes)
        position.answered(position.offset + position.next_size_bytes)
    assert sizes == [1000, 1000, 500]


def test_an_upload_that_is_known_goes_on_where_it_stopped() -> None:
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000)
    position.answered(2300)
    assert (position.offset, position.next_size_bytes) == (2300, 200)


def test_a_device_that_goes_on_erasing_gets_one_byte_until_it_moves() -> None:
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000)
    position.answered(1000)
    position.answered(1000)
    assert position.next_size_bytes == 1000  # one sector was erased: the block is usually taken now
    position.answered(1000)
    assert position.next_size_bytes == 1
    position.answered(1000)
    assert position.next_size_bytes == 1
    position.answered(1001)
    assert position.next_size_bytes == 1000


def test_the_first_block_is_always_a_block() -> None:
    """By it the device recognises an upload."""
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000)
    position.answered(0)
    assert position.next_size_bytes == 1000


def test_lk_05_a_device_may_repeat_an_offset_while_it_erases_but_not_for_ever() -> None:
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000, offset=1000)
    for _ in range(UNCHANGED_MAX):
        position.answered(1000)
    with pytest.raises(LinkError, match="LK-05"):
        position.answered(1000)


def test_lk_05_a_device_may_go_back_but_not_for_ever() -> None:
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000)
    for _ in range(SETBACKS_MAX):
        position.answered(1000)
        position.answered(0)
    position.answered(1000)
    with pytest.raises(LinkError, match="LK-05"):
        position.answered(0)


def test_lk_05_a_device_that_takes_a_byte_of_each_block_is_given_up() -> None:
    position = UploadPosition(size_bytes=100_000, block_size_bytes=1000)
    most = REQUESTS_BESIDE_MAX + 100 * REQUESTS_PER_BLOCK_MAX
    for _ in range(most):
        position.answered(position.offset + 1)
    with pytest.raises(LinkError, match=r"LK-05.*too little"):
        position.answered(position.offset + 1)


@pytest.mark.parametrize("offset", [-1, 2501])
def test_lk_03_an_offset_beyond_the_upload_is_refused(offset: int) -> None:
    position = UploadPosition(size_bytes=2500, block_size_bytes=1000)
    with pytest.raises(MessageMalformed, match="LK-03"):
        position.answered(offset)
