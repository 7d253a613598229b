"""Journal vectors about the state: what later records remove, repeat or leave alone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator.journal import RECORD_TYPES
from tests.vectors.generator.journal_case import (
    APPLICATION_REGION,
    BOOTLOADER_A_REGION,
    BOOTLOADER_B_REGION,
    JournalCase,
    app_trial,
    boot_confirmed,
    boot_trial,
    device,
    event,
    floors,
    head_hash,
    install_started,
    installed,
    read,
    started_half,
)
from tests.vectors.generator.keys import key

# name, description, records behind the first.
STATES: tuple[tuple[str, str, tuple[tuple[str, bytes], ...]], ...] = (
    (
        "install-started",
        "INSTALL_STARTED for the application removes INSTALLED and APP_TRIAL",
        (
            ("INSTALLED", installed("old")),
            ("APP_TRIAL", app_trial(2, "old")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "new")),
        ),
    ),
    (
        "install-started-over-confirmed",
        "INSTALL_STARTED for the application removes INSTALLED and APP_CONFIRMED",
        (
            ("INSTALLED", installed("old")),
            ("APP_CONFIRMED", head_hash("old")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "new")),
        ),
    ),
    (
        "install-started-for-bootloader",
        "INSTALL_STARTED for a bootloader leaves the application alone",
        (
            ("INSTALLED", installed("old")),
            ("APP_CONFIRMED", head_hash("old")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "new")),
        ),
    ),
    (
        "installed-over-trial",
        "INSTALLED removes APP_TRIAL and the application's INSTALL_STARTED alone",
        (
            ("INSTALL_STARTED", install_started(BOOTLOADER_A_REGION, "boot")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "new")),
            ("APP_TRIAL", app_trial(3, "old")),
            ("INSTALLED", installed("new")),
        ),
    ),
    (
        "installed-over-confirmed",
        "INSTALLED removes APP_CONFIRMED",
        (
            ("INSTALLED", installed("old")),
            ("APP_CONFIRMED", head_hash("old")),
            ("INSTALLED", installed("new")),
        ),
    ),
    (
        "confirmed",
        "APP_CONFIRMED removes APP_TRIAL",
        (
            ("INSTALLED", installed("new")),
            ("APP_TRIAL", app_trial(1, "new")),
            ("APP_CONFIRMED", head_hash("new")),
        ),
    ),
    (
        "confirmed-another",
        "APP_CONFIRMED with another head hash than INSTALLED does not count",
        (
            ("INSTALLED", installed("new")),
            ("APP_CONFIRMED", head_hash("old")),
        ),
    ),
    (
        "trial-of-another",
        "APP_TRIAL with another head hash than INSTALLED does not count",
        (
            ("INSTALLED", installed("new")),
            ("APP_TRIAL", app_trial(3, "old")),
        ),
    ),
    (
        "confirmed-without-image",
        "APP_CONFIRMED and APP_TRIAL without INSTALLED do not count",
        (
            ("APP_CONFIRMED", head_hash("old")),
            ("APP_TRIAL", app_trial(2, "old")),
        ),
    ),
    (
        "attempts",
        "the last of several says what is",
        (
            ("INSTALLED", installed("new")),
            ("APP_TRIAL", app_trial(1, "new")),
            ("APP_TRIAL", app_trial(2, "new")),
        ),
    ),
    (
        "floors-and-lifecycle",
        "the last of each kind, floors and lifecycle included; an unknown lifecycle is applied",
        (
            ("FLOORS", floors(9, 9, 9)),
            ("FLOORS", floors(9, 10, 9)),
            ("DEVICE", device(0x77)),
        ),
    ),
    (
        "boot-trial-removed",
        "INSTALL_STARTED for bootloader B removes the BOOT_TRIAL of copy B",
        (
            ("BOOT_CONFIRMED", boot_confirmed(0, "a")),
            ("BOOT_TRIAL", boot_trial(1, 1, "b")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "c")),
        ),
    ),
    (
        "boot-trial-kept",
        "INSTALL_STARTED for bootloader A, or for the application, leaves the BOOT_TRIAL of copy B",
        (
            ("BOOT_TRIAL", boot_trial(1, 1, "b")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_A_REGION, "c")),
            ("INSTALL_STARTED", install_started(APPLICATION_REGION, "d")),
        ),
    ),
    (
        "boot-confirmed",
        "BOOT_CONFIRMED removes BOOT_TRIAL and the INSTALL_STARTED of its own copy",
        (
            ("BOOT_CONFIRMED", boot_confirmed(0, "a")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_A_REGION, "x")),
            ("INSTALL_STARTED", install_started(BOOTLOADER_B_REGION, "b")),
            ("BOOT_TRIAL", boot_trial(1, 1, "b")),
            ("BOOT_CONFIRMED", boot_confirmed(1, "b")),
        ),
    ),
    (
        "events",
        "of 20 events the last 16 are kept",
        tuple(("EVENT", event(203, 2, count)) for count in range(1, 21)),
    ),
    (
        "events-repeated",
        "an event whose count is not greater than the last one's is a repeat",
        (
            ("EVENT", event(203, 2, 1)),
            ("EVENT", event(203, 2, 2)),
            ("EVENT", event(304, 2, 2)),
            ("EVENT", event(305, 2, 1)),
            ("EVENT", event(402, 2, 0x100)),
        ),
    ),
)

HELD = bytes(16) + head_hash("granted") + key("stranger").public + bytes(32)
SERVICE_STATES: tuple[tuple[str, str, tuple[tuple[str, bytes], ...]], ...] = (
    (
        "grant-used",
        "INSTALLED removes the PENDING_GRANT of its head",
        (("PENDING_GRANT", HELD), ("INSTALLED", installed("granted"))),
    ),
    (
        "grant-of-another",
        "INSTALLED of another head leaves PENDING_GRANT",
        (("PENDING_GRANT", HELD), ("INSTALLED", installed("other"))),
    ),
    (
        "grant-behind-installed",
        "a grant for the head that is installed already counts: records are applied in their order",
        (("INSTALLED", installed("granted")), ("PENDING_GRANT", HELD)),
    ),
    (
        "grant-replaced",
        "a newer grant replaces an older one",
        (("PENDING_GRANT", HELD), ("PENDING_GRANT", bytes(16) + head_hash("newer") + HELD[48:])),
    ),
    (
        "activated-again",
        "the last ACTIVATED counts, while still LOCKED",
        (("DEVICE", device(0x3C)), ("ACTIVATED", b"\1" * 144), ("ACTIVATED", b"\2" * 144)),
    ),
    (
        "service-started",
        "SERVICE_STARTED stands until a DEVICE says RMA or DECOMMISSIONED",
        (("SERVICE_STARTED", bytes((1, 0, 0, 0)) + bytes(32)), ("DEVICE", device(0xA5))),
    ),
    (
        "service-ended-by-rma",
        "a DEVICE that is RMA ends SERVICE_STARTED",
        (("SERVICE_STARTED", bytes((1, 0, 0, 0)) + bytes(32)), ("DEVICE", device(0x66))),
    ),
    (
        "service-ended-by-decommissioning",
        "a DEVICE that is DECOMMISSIONED ends SERVICE_STARTED",
        (("SERVICE_STARTED", bytes((2, 0, 0, 0)) + bytes(32)), ("DEVICE", device(0x99))),
    ),
)

# name, type, record format, payload: well-formed records that name or hold what is not known.
UNKNOWN: tuple[tuple[str, str, int, bytes], ...] = (
    ("format-2", "FLOORS", 2, floors(9, 9, 9)),
    ("too-short", "FLOORS", 1, floors(9, 9, 9)[:11]),
    ("too-long", "FLOORS", 1, floors(9, 9, 9) + b"\x00"),
    ("boot-confirmed-of-copy-2", "BOOT_CONFIRMED", 1, boot_confirmed(2, "c")),
    ("boot-trial-of-copy-2", "BOOT_TRIAL", 1, boot_trial(2, 0, "c")),
    ("install-started-in-region-4", "INSTALL_STARTED", 1, install_started(4, "c")),
    ("installed-of-type-9", "INSTALLED", 1, installed("c", package_type=9)),
    ("activated-too-short", "ACTIVATED", 1, bytes(143)),
    ("pending-grant-too-long", "PENDING_GRANT", 1, bytes(145)),
    ("service-started-action-3", "SERVICE_STARTED", 1, bytes((3, 0, 0, 0)) + bytes(32)),
    ("service-started-action-0", "SERVICE_STARTED", 1, bytes(36)),
)


def cases() -> Iterator[JournalCase]:
    """All of this file."""
    for name, words, records in (*STATES, *SERVICE_STATES):
        writer = started_half()
        for kind, payload in records:
            writer.append(kind, payload)
        yield read(f"state-{name}", words, writer)
    for name, kind, record_format, payload in UNKNOWN:
        writer = started_half()
        writer.append("FLOORS", floors(1, 2, 3))
        writer.append_unknown(RECORD_TYPES[kind], payload, record_format)
        writer.append("BOOT_CONFIRMED", boot_confirmed(0, "a"))
        yield read(f"unknown-{name}", f"{kind}: valid, but unknown: kept, not applied", writer)
