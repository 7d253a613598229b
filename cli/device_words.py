"""What a device answers, in words: every code of docs/spec/device-codes.md, and what runs after a start."""

from __future__ import annotations

from collections.abc import Iterator

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import Head, Target, Version
from bootloader.reference.platform import Protection
from bootloader.reference.records import TRIAL_ATTEMPTS_MAX, EventKind, Lifecycle

_WORDS = {
    DeviceCode.OK: "done",
    DeviceCode.HEAD_TRUNCATED: "it has fewer than the 1,024 bytes of a head",
    DeviceCode.MCUBOOT_HEADER: "a field of its MCUboot header is not as the format demands",
    DeviceCode.MANIFEST_MAGIC: "it is not a Strongroom package",
    DeviceCode.FORMAT_VERSION: "its format version is not known to this device",
    DeviceCode.PACKAGE_TYPE: "its package type is not known, or not allowed here",
    DeviceCode.SUITE: "its cryptographic suite is not known to this device",
    DeviceCode.RESERVED_NOT_ZERO: "a reserved or padding byte of its head is not zero",
    DeviceCode.PRODUCT_ID: "its product id is zero",
    DeviceCode.HARDWARE_RANGE: "its range of hardware revisions is empty",
    DeviceCode.TARGET: "its target is not known, or does not fit its target UID",
    DeviceCode.RECIPIENT_MODE: "its recipient mode is unknown, illegal here, or does not fit its fields",
    DeviceCode.IMAGE_SIZE: "its image size is zero or beyond the format's limit",
    DeviceCode.CHUNK_SIZE: "its chunk size is not 4,096",
    DeviceCode.PAYLOAD_SIZE: "its payload size does not follow from its image size",
    DeviceCode.SIGNER_IDS: "its signers' key ids are missing, too many, or in the wrong order",
    DeviceCode.SIGNER_UNKNOWN: "who signed it is not a current key of the role that this type of package needs",
    DeviceCode.SIGNER_REVOKED: "the key that signed it is revoked",
    DeviceCode.SIGNATURE_INVALID: "a signature does not verify: it was changed, or is for another device",
    DeviceCode.WRONG_PRODUCT: "it was made for another product",
    DeviceCode.WRONG_HARDWARE_REVISION: "it was made for other hardware revisions",
    DeviceCode.WRONG_LOAD_ADDRESS: "it is not linked for the place where it would be written",
    DeviceCode.IMAGE_TOO_LARGE: "it does not fit its region of flash",
    DeviceCode.BOOTLOADER_TOO_OLD: "it needs a newer bootloader than the one that runs",
    DeviceCode.TRUST_BUNDLE_TOO_OLD: "it needs a newer trust bundle than the device has",
    DeviceCode.BELOW_FLOOR: "its security version is below this device's floor: a downgrade",
    DeviceCode.ABOVE_MAXIMUM: "its security version is above the trust bundle's maximum, which keeps floors from "
    "being pushed so high that no update would ever be taken again",
    DeviceCode.BELOW_MINIMUM: "its security version is below the trust bundle's minimum",
    DeviceCode.VERSION_NOT_NEWER: "its version is the same as, or older than, what is installed and works",
    DeviceCode.LIFECYCLE: "this state of the device's life does not allow it",
    DeviceCode.NOT_IN_UPDATE_MODE: "the device is not in update mode",
    DeviceCode.RECIPIENT_UNKNOWN: "it is encrypted for another recipient: this device has no key to open it",
    DeviceCode.GRANT_REQUIRED: "it needs a grant, which this device does not hold",
    DeviceCode.COPY_ON_TRIAL: "the running bootloader copy is on trial and must not write the other one",
    DeviceCode.CEK_COMMITMENT: "the content key in it is not the one that its signed head commits to",
    DeviceCode.CHUNK_HASH: "a chunk of its payload was changed, left out, repeated or put in another place",
    DeviceCode.IMAGE_DIGEST: "what stands in flash is not the signed image",
    DeviceCode.EPHEMERAL_KEY: "its ephemeral key is not a point of the curve",
    DeviceCode.PACKAGE_SIZE: "its size does not fit its head: cut short, or something was added",
    DeviceCode.UPLOAD_STATE: "bytes came without a begun upload, or it ended too early or too late",
    DeviceCode.NO_STATE: "neither half of the device's journal is readable: it runs and takes nothing",
    DeviceCode.STATE_FULL: "there is no room in the device's journal",
    DeviceCode.FLASH_WRITE: "flash does not read back what was written: it is worn out, or was disturbed",
    DeviceCode.REGION_LOCKED: "a write outside what this stage may write: a defect, or a glitch",
    DeviceCode.BUNDLE_SIZE: "it has not the 2,304 bytes of a trust bundle",
    DeviceCode.BUNDLE_MAGIC: "it is not a trust bundle",
    DeviceCode.BUNDLE_FORMAT: "its format version or suite is not known",
    DeviceCode.BUNDLE_RESERVED: "a reserved or unused byte of it is not zero",
    DeviceCode.BUNDLE_COUNTS: "a count or threshold in it is out of range",
    DeviceCode.BUNDLE_ORDER: "its entries are not in ascending order, or stand twice",
    DeviceCode.BUNDLE_KEYS: "a key in it stands in two places, is revoked and current, or has no known role",
    DeviceCode.BUNDLE_LIMITS: "a minimum in it is above its maximum",
    DeviceCode.BUNDLE_GENESIS: "its version and previous digest do not fit each other",
    DeviceCode.BUNDLE_SIGNATURES: "too few roots signed it, or a signature is not valid",
    DeviceCode.BUNDLE_PRODUCT: "it is for another product",
    DeviceCode.BUNDLE_SUCCESSION: "it is neither the device's trust bundle nor the one that follows it",
    DeviceCode.BUNDLE_BUILT_IN: "it names a bootloader-release key that is not one of the three built into the device",
    DeviceCode.NO_APPLICATION: "no completed installation of an application is on record",
    DeviceCode.HEAD_CHANGED: "the application's head in flash is not the one that was installed",
    DeviceCode.BOOT_SIGNATURE: "the installed application's signature does not verify",
    DeviceCode.BOOT_DIGEST: "the installed application was changed in flash",
    DeviceCode.STOPPED: "the installed application's key is revoked and marked stop",
    DeviceCode.TRIAL_EXHAUSTED: "it was started three times without being confirmed",
    DeviceCode.UPDATE_REQUESTED: "update mode was asked for",
    DeviceCode.NO_BOOTLOADER: "no copy of the bootloader verifies",
    DeviceCode.OBJECT_SIZE: "it has not the size of such an object",
    DeviceCode.OBJECT_MAGIC: "it is another kind of object",
    DeviceCode.OBJECT_FORMAT: "its format version or suite is not known",
    DeviceCode.OBJECT_RESERVED: "a reserved or unused byte of it is not zero, or a flag of it is not known",
    DeviceCode.OBJECT_FIELD: "a field of it is out of its range",
    DeviceCode.WRONG_ORDER: "the activation is not of this work order, or beyond what the order allows",
    DeviceCode.WRONG_LOT: "it was made for another lot",
    DeviceCode.WRONG_DEVICE: "it was made for another device",
    DeviceCode.WRONG_NONCE: "it answers no challenge, or another one: each is answered once",
    DeviceCode.WRONG_KEYS: "it was made for other keys than the device has",
    DeviceCode.PROTECTION_MISSING: "the hardware protection that is demanded is not set",
    DeviceCode.KEY_INJECTION: "an injected key does not unwrap, or is not the one that was announced",
    DeviceCode.NO_KEYS: "the device has no keys of its own yet",
    DeviceCode.RANDOM_FAILED: "the device's random generator reports an error",
    DeviceCode.GRANT_PROOF: "the grant is not in the tree that was signed, or is another device's",
    DeviceCode.SERVICE_PENDING: "a service order is being carried out: nothing is started or taken before its end",
}

_STEPS = (
    (range(101, 116), "reading the head"),
    (range(201, 204), "the signatures of the head"),
    (range(301, 316), "the rules that decide whether this device may install it"),
    (range(401, 402), "unwrapping the content key"),
    (range(402, 403), "the chunks of the payload"),
    (range(403, 404), "the digest of the whole image, read back from flash"),
    (range(404, 405), "unwrapping the content key"),
    (range(405, 407), "the size announced and sent"),
    (range(501, 505), "flash and journal"),
    (range(601, 614), "the trust bundle"),
    (range(701, 709), "the start"),
    (range(801, 806), "reading the signed object"),
    (range(811, 820), "the rules of activation and service"),
    (range(821, 822), "the grant"),
    (range(831, 832), "the service order under way"),
)

_LIFECYCLES = {
    Lifecycle.LOCKED: "LOCKED (in transit: not activated)",
    Lifecycle.OPERATIONAL: "OPERATIONAL",
    Lifecycle.RMA: "RMA (returned for repair)",
    Lifecycle.DECOMMISSIONED: "DECOMMISSIONED",
}

_EVENTS = {
    EventKind.INSTALL: "installation",
    EventKind.REFUSAL: "refusal",
    EventKind.START: "start in update mode",
    EventKind.CONFIRMATION: "confirmation",
    EventKind.FALL_BACK: "fall-back to the other bootloader copy",
    EventKind.TRUST_BUNDLE: "new trust bundle",
    EventKind.ACTIVATION: "activation",
    EventKind.GRANT: "grant taken",
    EventKind.SERVICE: "service order",
}


def code_in_words(code: DeviceCode) -> str:
    """What a code means, as the end of a sentence about the thing refused."""
    return _WORDS[code]


def step_in_words(code: DeviceCode) -> str:
    """Which step of the device refuses with this code."""
    return next(step for numbers, step in _STEPS if code in numbers)


def explanation(refusal: Refused, head: Head | None, uid: bytes) -> str:
    """Why this device refuses this package. `uid` is the device's own, unpadded."""
    words = f"{code_in_words(refusal.code)} ({refusal.detail})"
    padded = uid.ljust(16, b"\0")
    if head is not None and refusal.code is DeviceCode.SIGNATURE_INVALID:
        if not any(head.signature_0):
            return f"{words}: a prepared package, which nobody has signed"
        if head.target is Target.ONE_UID and head.target_uid != padded:
            bound_to = head.target_uid[: len(uid)].hex()
            return f"{words}: it is bound to UID {bound_to}, this device is {uid.hex()}"
    return words


def version_in_words(version: Version) -> str:
    """1.2.3, or 1.2.3+4 with a build number."""
    text = f"{version.major}.{version.minor}.{version.revision}"
    return f"{text}+{version.build}" if version.build else text


def trial_in_words(attempts: int) -> str:
    """How far the trial of an application is."""
    return f"on trial, attempt {attempts} of {TRIAL_ATTEMPTS_MAX}"


def lifecycle_in_words(lifecycle: int) -> str:
    """The state of a device's life; an unknown one allows nothing."""
    known = lifecycle in tuple(Lifecycle)
    return _LIFECYCLES[Lifecycle(lifecycle)] if known else f"unknown (0x{lifecycle:02x}): allows nothing"


def protection_in_words(protection: int) -> Iterator[str]:
    """The hardware protection that is set, flag by flag."""
    level_2 = bool(protection & Protection.READOUT_2)
    if protection & Protection.READOUT:
        yield "readout protection level 2" if level_2 else "readout protection level 1"
    for flag, words in (
        (Protection.WRITE_PROTECT, "pre-bootloader write-protected"),
        (Protection.BROWN_OUT, "brown-out level"),
        (Protection.DEBUG_CLOSED, "debug port closed"),
    ):
        if protection & flag:
            yield words


def event_in_words(kind: int, code: int) -> str:
    """An entry of the event log."""
    known_kind = kind in tuple(EventKind)
    what = _EVENTS[EventKind(kind)] if known_kind else f"event of kind {kind}"
    if code == DeviceCode.OK:
        return what
    known_code = code in tuple(DeviceCode)
    return f"{what}: {DeviceCode(code).name}, {_WORDS[DeviceCode(code)]}" if known_code else f"{what}: code {code}"
