"""What a PKCS#11 module really does, as found by `probes.probe`: a value, and its strict JSON form to keep it in.

A profile belongs to one installed module (its `identity`); signing and finding never need one (docs/adr/0013).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from pki.errors import ConfigurationError

PROFILE_FORMAT = "strongroom-module-profile-1"
_MAX_PROFILE_CHARACTERS = 65_536


class PaddedWrap(StrEnum):
    """What mechanism 0x210A (CKM_AES_KEY_WRAP_PAD) of a module is, compared with a software computation."""

    RFC_5649 = "rfc-5649"
    RFC_5649_OF_WHOLE_BLOCKS = "rfc-5649-of-whole-blocks"
    """RFC 5649 only for values of whole 8-byte blocks; others are padded with zeros first, and their length is lost."""
    PKCS7 = "rfc-3394-over-pkcs7-padding"
    UNKNOWN = "unknown"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ModuleProfile:
    """Every field is the outcome of real operations.

    `probed_on_token`: whether the attributes to drop were tried for objects on the token, as generation needs; else the
    profile was made with session objects only, which changes nothing on a token.
    `locks_by_copy`: a session key copied with CKA_MODIFIABLE false keeps LOCAL, ALWAYS_SENSITIVE, NEVER_EXTRACTABLE and
    can no longer be changed. `copies_are_exact`: a copy of an unmodifiable object cannot differ from it in anything.
    `copy_forbids_copying`: CKA_COPYABLE can be set to false in that copy. `dropped_*`: attributes (names without CKA_)
    that the module does not take in a template of that kind.
    """

    identity: str
    probed_on_token: bool
    raw_ecdsa: bool
    ecdsa_sha256: bool
    ecdh_null_kdf: bool
    random: bool
    aes_key_wrap: bool
    padded_wrap: PaddedWrap
    kwp_0x210b: bool
    extractable_enforced: bool
    reports_local: bool
    locks_by_copy: bool
    copy_forbids_copying: bool
    copies_are_exact: bool
    dropped_public: frozenset[str]
    dropped_private: frozenset[str]
    dropped_secret: frozenset[str]


def profile_to_json(profile: ModuleProfile) -> str:
    """One JSON object, keys in the order of the class, sets as sorted lists, with a line end."""
    values = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(profile).items()}
    return json.dumps({"format": PROFILE_FORMAT, **values}, indent=2) + "\n"


def profile_from_json(text: str) -> ModuleProfile:
    """Parse what `profile_to_json` wrote; raises ConfigurationError for anything else."""
    if len(text) > _MAX_PROFILE_CHARACTERS:
        raise ConfigurationError("module profile: the file is too long; delete it, it is made again")
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError as error:
        raise ConfigurationError(f"module profile: not JSON ({error}); delete the file, it is made again") from None
    if not isinstance(values, dict) or values.pop("format", None) != PROFILE_FORMAT:
        raise ConfigurationError(f"module profile: not of format {PROFILE_FORMAT}; delete the file, it is made again")
    names = {field.name for field in fields(ModuleProfile)}
    if values.keys() != names:
        wrong = ", ".join(sorted(values.keys() ^ names))
        raise ConfigurationError(f"module profile: missing or unknown fields {wrong}; delete the file")
    return ModuleProfile(**{name: _checked(name, value) for name, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    if name == "identity" and isinstance(value, str):
        return value
    if name == "padded_wrap" and value in {member.value for member in PaddedWrap}:
        return PaddedWrap(value)
    if name.startswith("dropped_") and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return frozenset(value)
    if isinstance(value, bool) and name not in ("identity", "padded_wrap") and not name.startswith("dropped_"):
        return value
    raise ConfigurationError(f"module profile: {name} has a wrong value; delete the file, it is made again")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is given twice")
    return values
