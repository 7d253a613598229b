"""Every kind of ceremony as tests and the crash campaign hold it: what there is before, plan, people and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.ceremonies.rooms import CREW, CUSTODIANS, PRODUCT, CeremonyWorld, label
from tests.cli.release_world import COPY_ADDRESSES, terms, vector_table

TRUST_1 = "public/trust-1.srb"
PREPARED = "public/bootloader.prepared"


@dataclass(frozen=True)
class Kind:
    """`before` brings a built world to where the ceremony begins."""

    plan: str
    people: tuple[str, ...]
    values: dict[str, str] = field(default_factory=dict)
    before: Callable[[CeremonyWorld], None] = lambda _world: None


def with_roots(world: CeremonyWorld) -> None:
    """Roots, bootloader-release keys and the genesis bundle, made without a ceremony."""
    for role in ("root", "bootloader-release"):
        for number in (1, 2, 3):
            options = ("--product", PRODUCT, "--sequence", str(number), "--activate")
            world.ok("key", "generate", role, "--token", f"root-{number}", *options)
    world.ok("bundle", "genesis", "-p", PRODUCT, "-o", world.root / TRUST_1)


def with_prepared_bootloader(world: CeremonyWorld, *, roots: bool = True) -> None:
    """A bootloader package for the factory, prepared and not signed."""
    if roots:
        with_roots(world)
    image = world.folder / "bootloader.bin"
    address = COPY_ADDRESSES["A"]
    image.write_bytes(vector_table(3000, address) + (world.root / TRUST_1).read_bytes())
    chosen = ("--type", "bootloader", "--copy", "A", "--for-factory")
    world.ok("package", "prepare", *terms(), image, "-o", world.root / PREPARED, *chosen)


BACKED_UP = {
    "product": PRODUCT,
    "label": label("application-release", 2),
    "token": "release",
    "second-token": "spare",
    "backup": "release-2.backup",
    "words": "3",
}


def with_backed_up_key(world: CeremonyWorld) -> None:
    """A ceremony of its own makes it; its backup file is then kept with the public files."""
    digest = world.new("backed-up", "backup", BACKED_UP, CREW + CUSTODIANS)
    world.hold("backed-up", digest)
    made = world.ceremonies / "backed-up" / "artefacts" / "release-2.backup"
    (world.root / "public" / made.name).write_bytes(made.read_bytes())


def with_log(world: CeremonyWorld) -> None:
    """An audit log whose key is on the token that the ceremony uses too."""
    world.ok("key", "generate", "log", "--token", "release", "--activate")
    with (world.root / "strongroom.toml").open("a", encoding="utf-8") as file:
        file.write('\n[log]\ntoken = "release"\nlabel = "sr:log:-:0001"\n')
    world.ok("audit", "init")


def with_key_to_destroy(world: CeremonyWorld) -> None:
    world.ok("key", "generate", "grant", "--token", "spare", "--product", PRODUCT, "--activate")


CA_CERTIFICATE = "public/production-ca.pem"
STATION = {
    "product": PRODUCT,
    "lot": "LOT-2026-11",
    "organization": "Example Pumps",
    "lot-key": label("lot"),
    "station-key": label("station"),
    "lot-ca": label("lot-ca"),
    "production-ca": "sr:production-ca:-:0001",
    "ca-certificate": CA_CERTIFICATE,
    "maker-token": "release",
    "ca-token": "root-1",
    "station-token": "spare",
    "days": "365",
}


def with_production_ca(world: CeremonyWorld) -> None:
    """Root CA and production CA, made without a ceremony."""
    named = ("--organization", "Example Pumps", "--common-name")
    for role in ("root-ca", "production-ca"):
        world.ok("key", "generate", role, "--token", "root-1", "--activate")
    root, request = world.root / "public" / "root-ca.pem", world.folder / "production-ca.csr"
    world.ok("cert", "root-ca", "--key", "sr:root-ca:-:0001", *named, "Root CA", "-o", root)
    world.ok("cert", "csr", "--key", "sr:production-ca:-:0001", *named, "Production CA", "-o", request)
    world.ok(
        "cert", "production-ca", "--ca-key", "sr:root-ca:-:0001", "--ca-cert", root, "--csr", request,
        *named, "Production CA", "-o", world.root / CA_CERTIFICATE,
    )  # fmt: skip


ISSUED = {
    "product": PRODUCT,
    "label": label("application-release", 2),
    "token": "release",
    "days": "400",
    "artefact": "application-release-2.pem",
}
ROTATED = {
    "product": PRODUCT,
    "previous": TRUST_1,
    "old-label": label("application-release"),
    "new-label": label("application-release", 2),
    "new-token": "release",
    "days": "400",
    "bundle": "trust-2.srb",
}
NEW_ROOTS = {f"new-root-{number}": label("root", number + 3) for number in (1, 2, 3)}
NEW_TOKENS = {"new-token-1": "spare", "new-token-2": "root-2", "new-token-3": "root-3"}

KINDS: dict[str, Kind] = {
    "root-genesis": Kind("root-genesis", CREW + CUSTODIANS, {"product": PRODUCT}),
    "role-key-issue": Kind("role-key-issue", CREW, ISSUED),
    "role-key-issue-logged": Kind("role-key-issue", CREW, ISSUED, with_log),
    "role-key-rotation": Kind("role-key-rotation", CREW + CUSTODIANS, ROTATED, with_roots),
    "leaked-key": Kind("leaked-key", CREW + CUSTODIANS, ROTATED, with_roots),
    "revocation": Kind(
        "revocation",
        CREW + CUSTODIANS,
        {"product": PRODUCT, "previous": TRUST_1, "label": label("application-release"), "bundle": "trust-2.srb"},
        with_roots,
    ),
    "root-rotation": Kind(
        "root-rotation",
        CREW + CUSTODIANS,
        {"product": PRODUCT, "previous": TRUST_1, "bundle": "trust-2.srb", **NEW_ROOTS, **NEW_TOKENS},
        with_roots,
    ),
    "backup": Kind("backup", CREW + CUSTODIANS, BACKED_UP),
    "restore": Kind(
        "restore",
        CREW + CUSTODIANS,
        {"label": label("application-release", 2), "backup": "public/release-2.backup", "token": "root-1"},
        with_backed_up_key,
    ),
    "destruction": Kind(
        "destruction",
        CREW,
        {"label": label("grant"), "label-again": label("grant"), "token": "spare"},
        with_key_to_destroy,
    ),
    "station-issue": Kind("station-issue", (*CREW, "custodian=dan", "custodian=eve"), STATION, with_production_ca),
    "offline-release": Kind(
        "offline-release",
        CREW + CUSTODIANS,
        {"product": PRODUCT, "prepared": PREPARED, "package": "bootloader-1.pkg"},
        with_prepared_bootloader,
    ),
}
