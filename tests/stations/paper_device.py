"""A board that follows docs/spec/activation.md and signed-status.md, written from their tables alone.

It shares nothing with bootloader/, rpc/ and provisioning/: what a station makes is judged by bytes and offsets here.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rpc.errors import DeviceRefused, LinkTimeout

LOCKED, OPERATIONAL, RMA = 0x3C, 0xA5, 0x66
_GROUP = 0x4D42


def context(name: bytes) -> bytes:
    return name.ljust(16, b"\0")


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def load(public: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + public)


def sign(key: ec.EllipticCurvePrivateKey, name: bytes, data: bytes) -> bytes:
    digest = hashlib.sha256(context(name) + data).digest()
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verifies(public: bytes, name: bytes, data: bytes, signature: bytes) -> bool:
    digest = hashlib.sha256(context(name) + data).digest()
    encoded = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        load(public).verify(encoded, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def u(value: int, size_bytes: int) -> bytes:
    return value.to_bytes(size_bytes, "little")


@dataclass
class Chip:
    """What survives a power cut: the flash's content as far as this model goes, and the option bytes."""

    uid: bytes
    flash: bytes = b""
    """Empty: blank. Otherwise what the factory image left; keys and state are beside it."""
    readout_level: int = 0
    options: int = 0
    """Protection flags without readout."""
    lifecycle: int = LOCKED
    identity: ec.EllipticCurvePrivateKey | None = None
    agreement: ec.EllipticCurvePrivateKey | None = None
    group: int | None = None
    """The group's private scalar, once it was injected."""
    order: bytes = b""
    activation: bytes = b""
    bundle_version: int = 1
    revoked_key_ids: set[bytes] = field(default_factory=set)

    def erase(self) -> None:
        self.flash, self.lifecycle, self.identity, self.agreement, self.group = b"", LOCKED, None, None, None
        self.order = self.activation = b""
        self.readout_level, self.bundle_version = 0, 1


@dataclass
class Facts:
    """Of the factory image: what the device says of itself."""

    product_id: bytes
    lot: bytes
    production_key: bytes
    hardware_revision: int = 3
    flags: int = 1
    protection_required: int = 0


class PaperDevice:
    """A chip that is powered: `power_cycle` forgets what is in RAM. Methods are those of a host's client."""

    def __init__(self, chip: Chip, facts: Facts) -> None:
        self.chip = chip
        self.facts = facts
        self.power_cycle()

    def power_cycle(self) -> None:
        self.nonce: bytes | None = None
        self.last: tuple[bytes, bytes] | None = None
        self.protection = self.chip.options | (0, 1, 3)[self.chip.readout_level]

    # What a host asks

    def wait_until_up(self, timeout_seconds: float) -> None:
        if not self.chip.flash:
            raise LinkTimeout("a blank chip answers nothing")

    def enter_update_mode(self) -> None:
        """It is in it."""

    def challenge(self, host_ephemeral: bytes) -> bytes:
        self.wait_until_up(0)
        chip, facts = self.chip, self.facts
        if chip.lifecycle == LOCKED and chip.identity is None and self._is_protected():
            chip.identity, chip.agreement = new_key(), new_key()
        self.nonce = os.urandom(32)
        keys = point(chip.identity) + point(chip.agreement) if chip.identity and chip.agreement else bytes(128)
        body = b"SRC1" + u(1, 2) + u(1, 1) + u(chip.lifecycle, 1) + chip.uid + facts.product_id
        body += facts.lot.ljust(16, b"\0") + u(facts.hardware_revision, 2) + u(self.protection, 2)
        body += u(chip.bundle_version, 4) + self.nonce + host_ephemeral + keys
        body += self._proof(body, host_ephemeral) + bytes(32)
        body += chip.order[8:24].ljust(16, b"\0") + self._activation_digest() + u(facts.flags, 1) + bytes(47)
        return body + (sign(chip.identity, b"SR-challenge-v1", body) if chip.identity else bytes(64))

    def send_trust_bundle(self, bundle: bytes) -> None:
        """Not a real one: version u32, then the ids of the keys that it revokes."""
        if int.from_bytes(bundle[:4], "little") != self.chip.bundle_version + 1:
            raise refusal("REFUSED")
        self.chip.bundle_version += 1
        self.chip.revoked_key_ids |= {bundle[offset : offset + 8] for offset in range(4, len(bundle), 8)}

    def send_activation(self, data: bytes) -> bytes:
        if self.last is not None and self.last[0] == data:
            return self.last[1]
        order, activation = data[:640], data[640:]
        nonce, self.nonce = self.nonce, None
        self._check(order, activation, nonce)
        self._inject(order, activation)
        chip = self.chip
        chip.order, chip.activation, chip.lifecycle = order, activation, OPERATIONAL
        self.last = (data, self._receipt(activation))
        return self.last[1]

    def signed_status(self, nonce: bytes) -> bytes:
        chip, facts = self.chip, self.facts
        status = bytearray(512)
        for offset, content in (
            (0, b"SRS1" + u(1, 2) + u(1, 1) + u(1, 1) + chip.uid + nonce + facts.product_id),
            (72, u(facts.hardware_revision, 2) + u(chip.lifecycle, 1) + u(facts.flags & 1, 1)),
            (76, facts.lot.ljust(16, b"\0") + u(self.protection, 2)),
            (212, u(chip.bundle_version, 4)),
            (248, chip.order[8:24].ljust(16, b"\0") + self._activation_digest()),
            (296, chip.activation[192:224].ljust(32, b"\0")),
            (380, chip.activation[224:256].ljust(32, b"\0")),
        ):
            status[offset : offset + len(content)] = content
        return bytes(status) + (sign(chip.identity, b"SR-status-v1", bytes(status)) if chip.identity else bytes(64))

    # How

    def _is_protected(self) -> bool:
        return not self.facts.protection_required & ~self.protection

    def _activation_digest(self) -> bytes:
        if not self.chip.activation:
            return bytes(32)
        return hashlib.sha256(context(b"SR-activate-v1") + self.chip.activation[:800]).digest()

    def _proof(self, challenge: bytes, host_ephemeral: bytes) -> bytes:
        if self.chip.agreement is None:
            return bytes(32)
        name = context(b"SR-agree-pop-v1")
        shared = self.chip.agreement.exchange(ec.ECDH(), load(host_ephemeral))
        info = name + host_ephemeral + point(self.chip.agreement)
        key = HKDF(hashes.SHA256(), 32, None, info).derive(shared)
        return hmac.digest(key, name + challenge[:288], "sha256")

    def _check(self, order: bytes, activation: bytes, nonce: bytes | None) -> None:
        """docs/spec/activation.md, "What a device checks", as far as a station can go wrong."""
        chip, facts = self.chip, self.facts
        require(chip.lifecycle == LOCKED, "LIFECYCLE")
        require(chip.identity is not None and chip.agreement is not None, "NO_KEYS")
        lot_key, production_id = order[88:152], key_id(facts.production_key)
        require(not {key_id(lot_key), production_id} & chip.revoked_key_ids, "SIGNER_REVOKED")
        require(order[536:544] == production_id, "SIGNER_UNKNOWN")
        require(verifies(facts.production_key, b"SR-order-v1", order[:576], order[576:]), "SIGNATURE_INVALID")
        require(activation[56:88] == hashlib.sha256(context(b"SR-order-v1") + order[:576]).digest(), "WRONG_ORDER")
        require(verifies(lot_key, b"SR-activate-v1", activation[:800], activation[800:]), "SIGNATURE_INVALID")
        require(order[24:40] == facts.product_id, "WRONG_PRODUCT")
        require(order[40:56] == facts.lot.ljust(16, b"\0"), "WRONG_LOT")
        require(activation[8:24] == chip.uid, "WRONG_DEVICE")
        require(nonce is not None and activation[24:56] == nonce, "WRONG_NONCE")
        assert chip.identity is not None
        assert chip.agreement is not None
        digests = hashlib.sha256(point(chip.identity)).digest() + hashlib.sha256(point(chip.agreement)).digest()
        require(activation[128:192] == digests, "WRONG_KEYS")
        shares = {order[at : at + 32]: int.from_bytes(order[at + 32 : at + 36], "little") for at in range(248, 536, 36)}
        sequence = int.from_bytes(activation[120:124], "little")
        require(1 <= sequence <= shares.get(activation[88:120], 0) and activation[7] == order[7], "WRONG_ORDER")
        require(not int.from_bytes(order[80:82], "little") & ~self.protection, "PROTECTION_MISSING")

    def _inject(self, order: bytes, activation: bytes) -> None:
        if activation[7] & 1:
            group = self._unwrapped(activation[256:480], order[152:216])
            self.chip.group = group.private_numbers().private_value
        if activation[7] & 2:
            self.chip.agreement = self._unwrapped(activation[544:768], activation[480:544])

    def _unwrapped(self, wrapped: bytes, expected: bytes) -> ec.EllipticCurvePrivateKey:
        assert self.chip.agreement is not None
        size_bytes = int.from_bytes(wrapped[64:66], "little")
        key = self.chip.agreement.exchange(ec.ECDH(), load(wrapped[:64]))
        try:
            data = keywrap.aes_key_unwrap(key, wrapped[72 : 72 + size_bytes])
            data = data[: 2 + data[1]] if data[1] < 0x80 else data[: 3 + data[2]]
            private = serialization.load_der_private_key(data, None)
            assert isinstance(private, ec.EllipticCurvePrivateKey)
        except (keywrap.InvalidUnwrap, ValueError):
            raise refusal("KEY_INJECTION") from None
        if point(private) != expected:
            raise refusal("KEY_INJECTION")
        return private

    def _receipt(self, activation: bytes) -> bytes:
        chip = self.chip
        assert chip.identity is not None
        assert chip.agreement is not None
        body = b"SRR1" + u(1, 2) + u(1, 1) + u(OPERATIONAL, 1) + chip.uid + activation[24:56]
        body += self._activation_digest() + point(chip.identity) + point(chip.agreement)
        body += u(self.protection, 2) + bytes(2) + u(chip.bundle_version, 4) + bytes(32)
        return body + sign(chip.identity, b"SR-receipt-v1", body)


def key_id(public: bytes) -> bytes:
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + public
    return hashlib.sha256(spki).digest()[:8]


def require(condition: bool, name: str) -> None:
    if not condition:
        raise refusal(name)


def refusal(name: str) -> DeviceRefused:
    return DeviceRefused(_GROUP, 1, name, "it")
