"""What a reply's map says: an error, or the fields of its command (docs/spec/protocol.md, sections 1 to 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rpc.device_codes import DEVICE_CODE_NAMES
from rpc.errors import DeviceRefused, MessageMalformed
from rpc.message import Group

# MCUmgr's errors of SMP itself (Zephyr, mgmt_defines.h); SMP 1 knows no others.
_MCUMGR_NAMES: Final = {
    1: "UNKNOWN",
    2: "NO_MEMORY",
    3: "INVALID_VALUE",
    4: "TIMEOUT",
    5: "NO_ENTRY",
    6: "BAD_STATE",
    7: "MESSAGE_SIZE",
    8: "NOT_SUPPORTED",
    9: "CORRUPT",
    10: "BUSY",
    11: "ACCESS_DENIED",
    12: "PROTOCOL_TOO_OLD",
    13: "PROTOCOL_TOO_NEW",
}
_OUR_NAMES: Final = {1: "REFUSED", 2: "NOT_IN_UPDATE_MODE", 3: "STATE", 4: "FLASH", 5: "BUSY"}
_RC_MAX: Final = 2**31


def raise_refusal(body: Mapping[str, object], what: str) -> None:
    """Raise DeviceRefused if the map is an error of SMP 1 or 2; `what` names what was asked for."""
    if "err" in body:
        error = body["err"]
        if not isinstance(error, dict) or set(error) != {"group", "rc"}:
            raise MessageMalformed("LK-03", "`err` is no map of `group` and `rc`")
        rc = take_int(error, "rc", 0, _RC_MAX)
        group = take_int(error, "group", 0, 0xFFFF)
        if rc != 0:
            raise DeviceRefused(group, rc, _name_of(group, rc), what)
    if "rc" in body:
        rc = take_int(body, "rc", 0, _RC_MAX)
        if rc != 0:
            raise DeviceRefused(0, rc, _MCUMGR_NAMES.get(rc, f"RC_{rc}"), what)


def _name_of(group: int, rc: int) -> str:
    if group == Group.STRONGROOM:
        return _OUR_NAMES.get(rc) or DEVICE_CODE_NAMES.get(rc, f"RC_{rc}")
    return f"GROUP_{group}_RC_{rc}"


def require_keys(body: Mapping[str, object], allowed: frozenset[str]) -> None:
    """Refuse a key that no reply of this command has (LK-03). `rc` 0, which some servers add, is none of them."""
    unknown = sorted(set(body) - allowed - {"rc", "err"})
    if unknown:
        raise MessageMalformed("LK-03", f"the reply has an unknown key: {unknown[0][:32]!r}")


def take_int(body: Mapping[str, object], key: str, low: int, high: int) -> int:
    """The integer of a field, from `low` to `high`; raises MessageMalformed (LK-03)."""
    value = body.get(key)
    if type(value) is not int or not low <= value <= high:
        raise MessageMalformed("LK-03", f"`{key}` is no integer from {low} to {high}")
    return value


def take_bytes(body: Mapping[str, object], key: str, size_bytes: int) -> bytes:
    """The byte string of a field, of exactly this size; raises MessageMalformed (LK-03)."""
    value = body.get(key)
    if not isinstance(value, bytes) or len(value) != size_bytes:
        raise MessageMalformed("LK-03", f"`{key}` is no byte string of {size_bytes} bytes")
    return value


def take_text(body: Mapping[str, object], key: str, size_max_bytes: int) -> str:
    """The text of a field, of at most this size in UTF-8; raises MessageMalformed (LK-03)."""
    value = body.get(key)
    if not isinstance(value, str) or len(value.encode()) > size_max_bytes:
        raise MessageMalformed("LK-03", f"`{key}` is no text of at most {size_max_bytes} bytes")
    return value


def take_flag(body: Mapping[str, object], key: str) -> bool:
    """The boolean of a field, false where it is left out; raises MessageMalformed (LK-03)."""
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise MessageMalformed("LK-03", f"`{key}` is neither true nor false")
    return value
