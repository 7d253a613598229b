"""What a device answers: the one list of docs/spec/device-codes.md, and the refusal that carries a code of it."""

from __future__ import annotations

from enum import IntEnum


class DeviceCode(IntEnum):
    """docs/spec/device-codes.md, whole. Numbers are only ever added."""

    OK = 0

    HEAD_TRUNCATED = 101
    MCUBOOT_HEADER = 102
    MANIFEST_MAGIC = 103
    FORMAT_VERSION = 104
    PACKAGE_TYPE = 105
    SUITE = 106
    RESERVED_NOT_ZERO = 107
    PRODUCT_ID = 108
    HARDWARE_RANGE = 109
    TARGET = 110
    RECIPIENT_MODE = 111
    IMAGE_SIZE = 112
    CHUNK_SIZE = 113
    PAYLOAD_SIZE = 114
    SIGNER_IDS = 115

    SIGNER_UNKNOWN = 201
    SIGNER_REVOKED = 202
    SIGNATURE_INVALID = 203

    WRONG_PRODUCT = 301
    WRONG_HARDWARE_REVISION = 302
    WRONG_LOAD_ADDRESS = 303
    IMAGE_TOO_LARGE = 304
    BOOTLOADER_TOO_OLD = 305
    TRUST_BUNDLE_TOO_OLD = 306
    BELOW_FLOOR = 307
    ABOVE_MAXIMUM = 308
    BELOW_MINIMUM = 309
    VERSION_NOT_NEWER = 310
    LIFECYCLE = 311
    NOT_IN_UPDATE_MODE = 312
    RECIPIENT_UNKNOWN = 313
    GRANT_REQUIRED = 314
    COPY_ON_TRIAL = 315

    CEK_COMMITMENT = 401
    CHUNK_HASH = 402
    IMAGE_DIGEST = 403
    EPHEMERAL_KEY = 404
    PACKAGE_SIZE = 405
    UPLOAD_STATE = 406

    NO_STATE = 501
    STATE_FULL = 502
    FLASH_WRITE = 503
    REGION_LOCKED = 504

    BUNDLE_SIZE = 601
    BUNDLE_MAGIC = 602
    BUNDLE_FORMAT = 603
    BUNDLE_RESERVED = 604
    BUNDLE_COUNTS = 605
    BUNDLE_ORDER = 606
    BUNDLE_KEYS = 607
    BUNDLE_LIMITS = 608
    BUNDLE_GENESIS = 609
    BUNDLE_SIGNATURES = 610
    BUNDLE_PRODUCT = 611
    BUNDLE_SUCCESSION = 612
    BUNDLE_BUILT_IN = 613

    NO_APPLICATION = 701
    HEAD_CHANGED = 702
    BOOT_SIGNATURE = 703
    BOOT_DIGEST = 704
    STOPPED = 705
    TRIAL_EXHAUSTED = 706
    UPDATE_REQUESTED = 707
    NO_BOOTLOADER = 708

    OBJECT_SIZE = 801
    OBJECT_MAGIC = 802
    OBJECT_FORMAT = 803
    OBJECT_RESERVED = 804
    OBJECT_FIELD = 805

    WRONG_ORDER = 811
    WRONG_LOT = 812
    WRONG_DEVICE = 813
    WRONG_NONCE = 814
    WRONG_KEYS = 815
    PROTECTION_MISSING = 816
    KEY_INJECTION = 817
    NO_KEYS = 818
    RANDOM_FAILED = 819

    GRANT_PROOF = 821

    SERVICE_PENDING = 831


class Refused(Exception):
    """The device does not take this input, or does not start this image: `code` says why, `detail` is for people."""

    def __init__(self, code: DeviceCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code.name} ({int(self.code)}): {self.detail}"


def require(condition: bool, code: DeviceCode, detail: str) -> None:
    """One check of a specification: raises Refused(code) unless the condition holds."""
    if not condition:
        raise Refused(code, detail)
