"""The challenge: who this device is, and proof that it has its keys, fresh (docs/spec/activation.md, section 1)."""

from __future__ import annotations

import hmac
from hmac import compare_digest
from struct import Struct

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import (
    POINT_SIZE_BYTES,
    SCALAR_SIZE_BYTES,
    SIGNATURE_SIZE_BYTES,
    context,
    ecdh,
    hkdf_sha256,
    is_scalar,
    public_point,
    require_point,
    sign_digest,
)
from bootloader.reference.head import PackageType
from bootloader.reference.platform import Platform, Protection
from bootloader.reference.records import DeviceKeys
from bootloader.reference.signed_object import FORMAT_VERSION, NONCE_SIZE_BYTES, SUITE, ObjectKind
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import TrustBundle

CHALLENGE = ObjectKind("challenge", b"SRC1", context("SR-challenge-v1"), 512)
SIMULATION_ONLY_FLAG = 0x01
FACTORY_TEST_FLAG = 0x02
SCALAR_DRAWS_MAX = 8

_PROOF_CONTEXT = context("SR-agree-pop-v1")
_PROOF_SIZE_BYTES = 32
_PROVED_SIZE_BYTES = 288

# magic version suite lifecycle; uid product lot; revision protection bundle_version; nonce E identity agreement
_HEAD = Struct("<4s H B B 16s 16s 16s H H I 32s 64s 64s 64s")
# agreement_proof bundle_digest order_id activation_digest flags reserved
_REST = Struct("<32s 32s 16s 32s B 47s")


class OutstandingNonce:
    """The nonce of the last challenge. In RAM only: it ends with the next challenge, with its use, and with a reset."""

    def __init__(self) -> None:
        self._nonce: bytes | None = None

    def remember(self, nonce: bytes) -> None:
        self._nonce = nonce

    def use_up(self, nonce: bytes) -> None:
        """The object that answers the challenge, whatever becomes of it; raises Refused(WRONG_NONCE)."""
        outstanding = self._nonce
        matches = outstanding is not None and compare_digest(outstanding, nonce)
        require(matches, DeviceCode.WRONG_NONCE, "no challenge is outstanding, or it was another one")
        self._nonce = None


def require_host_ephemeral(host_ephemeral: bytes) -> None:
    """The host's ephemeral key is X ‖ Y of a point of the curve; raises Refused(EPHEMERAL_KEY)."""
    detail = "the host's ephemeral key is not a point of the curve"
    require(len(host_ephemeral) == POINT_SIZE_BYTES, DeviceCode.EPHEMERAL_KEY, detail)
    require_point(host_ephemeral, DeviceCode.EPHEMERAL_KEY, detail)


def draw_keys(platform: Platform) -> DeviceKeys:
    """The two keys of a device, drawn one after the other; raises Refused(RANDOM_FAILED)."""
    identity, agreement = _draw_scalar(platform), _draw_scalar(platform)
    require(identity != agreement, DeviceCode.RANDOM_FAILED, "the random generator repeats itself")
    return DeviceKeys(identity, agreement)


def draw_nonce(platform: Platform) -> bytes:
    """Raises Refused(RANDOM_FAILED)."""
    return platform.random_bytes(NONCE_SIZE_BYTES)


def build_challenge(
    device_uid: bytes, protection: Protection, state: DeviceState, bundle: TrustBundle, nonce: bytes, ephemeral: bytes
) -> bytes:
    """The 512 bytes, signed and proved if the device has keys. `ephemeral` is the host's, a point of the curve."""
    keys, device, activated = state.keys, state.device, state.activated
    if device is None:
        raise ValueError("without a readable state there is another challenge")
    head = _HEAD.pack(
        *(CHALLENGE.magic, FORMAT_VERSION, SUITE, device.lifecycle, device_uid, device.product_id, device.lot),
        *(device.hardware_revision, protection, bundle.version, nonce, ephemeral),
        public_point(keys.identity_private) if keys is not None else bytes(POINT_SIZE_BYTES),
        public_point(keys.agreement_private) if keys is not None else bytes(POINT_SIZE_BYTES),
    )
    proof = _agreement_proof(keys, head, ephemeral) if keys is not None else bytes(_PROOF_SIZE_BYTES)
    order_id, activation_digest = (activated.order_id, activated.activation_digest) if activated else (b"", b"")
    unsigned = head + _REST.pack(proof, bundle.digest, order_id, activation_digest, _flags(state), b"")
    return unsigned + sign_object(CHALLENGE, unsigned, keys)


def build_challenge_without_state(device_uid: bytes, protection: Protection, nonce: bytes, ephemeral: bytes) -> bytes:
    """What a device says that knows nothing but its UID: the host learns the nonce for a re-provisioning."""
    point = bytes(POINT_SIZE_BYTES)
    fields = (CHALLENGE.magic, FORMAT_VERSION, SUITE, 0, device_uid, b"", b"", 0, protection, 0, nonce, ephemeral)
    return _HEAD.pack(*fields, point, point).ljust(CHALLENGE.size_bytes, b"\0")


def sign_object(kind: ObjectKind, unsigned: bytes, keys: DeviceKeys | None) -> bytes:
    """The device's signature over what it says; zero where it has no keys."""
    if keys is None:
        return bytes(SIGNATURE_SIZE_BYTES)
    return sign_digest(keys.identity_private, kind.digest(unsigned))


def _agreement_proof(keys: DeviceKeys, head: bytes, ephemeral: bytes) -> bytes:
    """Possession of the agreement key: only its holder, and the host that made E, can compute the key of this HMAC."""
    proved = head[:_PROVED_SIZE_BYTES]
    info = _PROOF_CONTEXT + ephemeral + public_point(keys.agreement_private)
    key = hkdf_sha256(ecdh(keys.agreement_private, ephemeral), info, _PROOF_SIZE_BYTES)
    return hmac.digest(key, _PROOF_CONTEXT + proved, "sha256")


def _flags(state: DeviceState) -> int:
    simulated = state.device is not None and state.device.is_simulation_only
    tested = state.installed is not None and state.installed.package_type == PackageType.FACTORY_TEST
    return (SIMULATION_ONLY_FLAG if simulated else 0) | (FACTORY_TEST_FLAG if tested else 0)


def _draw_scalar(platform: Platform) -> bytes:
    """A private key: drawn again where it is not one, which on a working generator happens once in 2^32."""
    for _ in range(SCALAR_DRAWS_MAX):
        drawn = platform.random_bytes(SCALAR_SIZE_BYTES)
        if is_scalar(drawn):
            return drawn
    require(condition=False, code=DeviceCode.RANDOM_FAILED, detail="the random generator draws no private key")
    raise AssertionError("require has raised")
