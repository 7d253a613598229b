"""What a device would do with a package, found by asking the reference bootloader; nothing is changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bootloader.reference.authenticity import verify_head_signatures
from bootloader.reference.board import Board, Copy, load_address
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import Head, PackageType, Target, parse_head
from bootloader.reference.install_rules import InstallFacts, require_installable
from bootloader.reference.payload import authenticate_chunk, chunk_size_on_wire
from bootloader.reference.records import Device, Lifecycle
from bootloader.reference.sizes import HEAD_SIZE_BYTES
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import TrustBundle, parse_trust_bundle, verify_genesis, verify_own_threshold
from cli.context import board_of, open_store
from cli.device_session import (
    FlashUse,
    Report,
    enter_update_mode,
    load_device,
    run_with_cut,
    running_report,
    send_package,
)
from cli.device_words import explanation, step_in_words, version_in_words
from cli.output import read_input
from pki.errors import ConfigurationError, InputRefused
from signer.authority.model import Product
from signer.authority.repository import AuthorityRepository
from signer.service.values import Verdict

_BUNDLES_MAX = 1000
_BUNDLE_SIZE_BYTES_MAX = 64 * 1024
_NOT_ASKED = "floors, what is installed, the version of the running bootloader, and whether it can decrypt the package"


def judged_by_device(device_file: Path, package: Path, report: Report) -> dict[str, Any]:
    """Install on a scratch copy of a simulated device. Raises InputRefused for files that cannot be read."""
    device = load_device(device_file)
    head = _head_of(package)
    use = FlashUse(0, 0, 0)
    try:
        with package.open("rb") as stream:
            enter_update_mode(device)
            result, use = run_with_cut(device, lambda: send_package(device, stream, 1024, report))
    except Refused as refusal:
        result = refusal
    verdict = {"judge": f"device {device.uid.hex()} in {device_file}", **use.as_json()}
    if isinstance(result, Refused):
        return {**verdict, **_refused(result, head, device.uid)}
    if result is None:
        raise AssertionError("no power cut was asked for")
    return {**verdict, "accepted": True, "then": running_report(device, result)["text"], "not_asked": ""}


def judged_by_product(
    product: Product, board: Board, bundle_data: bytes, built_in: list[bytes], package: Path
) -> dict[str, Any]:
    """Ask for a new, operational device of the product with this trust bundle, of whichever UID the package names.

    Heads, signatures, rules and every chunk are checked; what only a real device knows is named in the answer.
    """
    head = _head_of(package)
    uid = head.target_uid if head is not None and head.target is Target.ONE_UID else bytes(16)
    verdict: dict[str, Any] = {"judge": f"a new device of product {product.name}"}
    try:
        bundle = _trusted_bundle(bundle_data)
        with package.open("rb") as stream:
            size_bytes = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            parsed = parse_head(stream.read(HEAD_SIZE_BYTES))
            verify_head_signatures(parsed, uid, bundle, built_in)
            require_installable(parsed, _facts(product, board, bundle, parsed, size_bytes))
            link = parsed.first_link
            for index in range(parsed.chunk_count):
                _, link = authenticate_chunk(parsed, index, link, stream.read(chunk_size_on_wire(parsed, index)))
    except Refused as refusal:
        return {**verdict, **_refused(refusal, head, uid)}
    version = version_in_words(parsed.image_version)
    return {**verdict, "accepted": True, "then": f"would install {version}", "not_asked": _NOT_ASKED}


class ProductJudge:
    """The signing service's `PackageJudge`: a new device of the product, with the newest trust bundle in `public/`."""

    def __init__(self, repository: AuthorityRepository) -> None:
        self._repository = repository

    def judge(self, product: str, package: Path) -> Verdict:
        """Raises ConfigurationError without a trust bundle, InputRefused, KeyStoreError."""
        config = self._repository.product(product)
        board = board_of(self._repository, config.board)
        version, bundle = newest_trust_bundle(self._repository, config)
        with open_store(self._repository) as store:
            keys = [store.key(key.label).public_key for key in config.keys.bootloader_release]
        built_in = [key.point for key in keys if key is not None]
        verdict = judged_by_product(config, board, bundle, built_in, package)
        text = verdict["then"] if verdict["accepted"] else f"{verdict['name']} ({verdict['code']}): {verdict['text']}"
        return Verdict(bool(verdict["accepted"]), f"{verdict['judge']} with trust bundle {version}", text)


def newest_trust_bundle(repository: AuthorityRepository, product: Product) -> tuple[int, bytes]:
    """Version and bytes of the product's newest trust bundle anywhere in `public/`.

    Raises ConfigurationError if there is none, two different ones of one version, or a file that is no trust bundle.
    """
    found: dict[int, bytes] = {}
    paths = sorted((repository.root / "public").rglob("*.srb"))
    if len(paths) > _BUNDLES_MAX:
        raise ConfigurationError(f"{repository.root / 'public'} holds more than {_BUNDLES_MAX} trust bundles")
    for path in paths:
        data = read_input(path, "trust bundle", _BUNDLE_SIZE_BYTES_MAX)
        try:
            bundle = parse_trust_bundle(data)
        except Refused as refusal:
            raise ConfigurationError(f"{path}: is no trust bundle ({refusal}); remove it") from None
        if bundle.product_id != product.id_bytes:
            continue
        if found.setdefault(bundle.version, data) != data:
            raise ConfigurationError(f"{path}: another trust bundle of version {bundle.version} is in public/, too")
    if not found:
        raise ConfigurationError(
            f"public/ has no trust bundle of product {product.name!r}: put the newest there, as devices have it"
        )
    newest = max(found)
    return newest, found[newest]


def judgement_text(package: Path, verdict: dict[str, Any]) -> str:
    """The verdict for a terminal."""
    if not verdict["accepted"]:
        lines = [
            f"REFUSED, {verdict['name']} ({verdict['code']}), by {verdict['judge']}",
            f"{package}: {verdict['text']}",
            f"refused at: {verdict['step']}",
        ]
        if "flash_operations_outside_journal" in verdict and not verdict["flash_operations_outside_journal"]:
            lines.append("nothing was erased, and nothing but the event log would be written")
        return "\n".join(lines)
    lines = [f"accepted by {verdict['judge']}", f"then: {verdict['then']}"]
    if "flash_operations" in verdict:
        lines.append(f"{verdict['flash_operations']} flash operations, {verdict['sectors_erased']} sectors erased")
    if verdict["not_asked"]:
        lines.append(f"not asked, for want of a device: {verdict['not_asked']}")
    return "\n".join(lines)


def _head_of(package: Path) -> Head | None:
    try:
        with package.open("rb") as stream:
            return parse_head(stream.read(HEAD_SIZE_BYTES))
    except Refused:
        return None
    except OSError as error:
        raise InputRefused(f"package {package}: cannot be read ({error.strerror})") from None


def _trusted_bundle(data: bytes) -> TrustBundle:
    bundle = parse_trust_bundle(data)
    if bundle.version == 1:
        verify_genesis(bundle)
    else:
        verify_own_threshold(bundle)
    return bundle


def _facts(product: Product, board: Board, bundle: TrustBundle, head: Head, size_bytes: int) -> InstallFacts:
    """A new device of the product; of what it would have to know by itself, the most favourable is assumed."""
    is_test = head.package_type is PackageType.FACTORY_TEST
    lifecycle = Lifecycle.LOCKED if is_test else Lifecycle.OPERATIONAL
    device = Device(bundle.product_id, product.hardware_revision_min, lifecycle, 0, bytes(16))
    is_for_a = head.load_address == load_address(board.bootloader_a)
    return InstallFacts(
        board=board,
        state=DeviceState(device=device),
        device=device,
        bundle=bundle,
        device_uid=head.target_uid,
        running_copy=Copy.B if is_for_a else Copy.A,
        running_version=head.bootloader_version_min,
        running_is_confirmed=True,
        announced_size_bytes=size_bytes,
        replaced_version=lambda: None,
    )


def _refused(refusal: Refused, head: Head | None, uid: bytes) -> dict[str, Any]:
    return {
        "accepted": False,
        "code": int(refusal.code),
        "name": DeviceCode(refusal.code).name,
        "step": step_in_words(refusal.code),
        "text": explanation(refusal, head, uid),
    }
