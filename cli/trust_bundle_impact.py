"""What a chain of trust bundles does to packages and devices, found by asking the reference bootloader.

Packages are judged for a new device of the product, by the first bundle of the chain and by the last. A device's file
is run on a scratch copy; of a status report (`strongroom device status --json`) only what it says can be judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootloader.reference.board import Board
from bootloader.reference.codes import Refused
from bootloader.reference.head import PackageType
from bootloader.reference.trust_bundle import TrustBundle
from cli.device_session import enter_update_mode, load_device, running_report
from cli.output import read_input, table
from cli.package_judgement import judged_by_product
from pki.errors import InputRefused
from signer.authority.model import Product

_STATUS_SIZE_BYTES_MAX = 1024 * 1024
_TYPE_NAMES = {package_type: package_type.name.lower().replace("_", "-") for package_type in PackageType}


@dataclass(frozen=True, slots=True)
class Links:
    """A chain that devices follow, oldest first, and what a package is judged with."""

    bundles: tuple[TrustBundle, ...]
    product: Product
    board: Board
    built_in: tuple[bytes, ...]

    @property
    def last(self) -> TrustBundle:
        return self.bundles[-1]

    def missing_from(self, digest: str) -> tuple[TrustBundle, ...] | None:
        """The links that a device with this bundle still has to follow; None if its bundle is not in the chain."""
        digests = [bundle.digest.hex() for bundle in self.bundles]
        return self.bundles[digests.index(digest) + 1 :] if digest in digests else None


def package_impact(links: Links, package: Path) -> dict[str, Any]:
    """Whether a package installs before and after, and why not."""
    before, after = (
        judged_by_product(links.product, links.board, bundle.raw, list(links.built_in), package)
        for bundle in (links.bundles[0], links.last)
    )
    verdicts = [{key: verdict.get(key) for key in ("accepted", "name", "text")} for verdict in (before, after)]
    effect = _package_effect(before["accepted"], after["accepted"])
    return {"package": str(package), "effect": effect, "before": verdicts[0], "after": verdicts[1]}


def device_impact(links: Links, path: Path) -> dict[str, Any]:
    """Which links a device has to follow, and what it runs before and after."""
    report = _status_report_of(path)
    if report is not None:
        return _by_report(links, path, report)
    return _by_running(links, path)


def impact_text(packages: Sequence[Mapping[str, Any]], devices: Sequence[Mapping[str, Any]]) -> str:
    """Both tables for a terminal."""
    parts = []
    if packages:
        rows = [(item["effect"], Path(item["package"]).name, _why(item)) for item in packages]
        parts.append(table(("PACKAGE", "FILE", "WHY"), rows).rstrip())
    if devices:
        lines = [
            (
                item["effect"],
                item["uid"],
                str(item["has_version"]),
                ", ".join(map(str, item["links"])) or "-",
                item["text"],
            )
            for item in devices
        ]
        parts.append(table(("DEVICE", "UID", "HAS", "SEND", "THEN"), lines).rstrip())
    counts = [
        f"{sum(item['effect'] == effect for item in items)} {words}"
        for items, effect, words in (
            (packages, "installs no more", "packages install no more"),
            (devices, "stops", "devices stop"),
            (devices, "cannot follow", "devices cannot follow"),
        )
    ]
    return "\n\n".join([*parts, ", ".join(counts)])


def _package_effect(before: bool, after: bool) -> str:
    if before:
        return "installs" if after else "installs no more"
    return "installs from now on" if after else "never installed"


def _why(item: Mapping[str, Any]) -> str:
    verdict = item["after"] if not item["after"]["accepted"] else item["before"]
    return "" if verdict["accepted"] else f"{verdict['name']}: {verdict['text']}"


def _by_running(links: Links, path: Path) -> dict[str, Any]:
    """Send the missing links to a scratch copy, and see what it starts."""
    device = load_device(path)
    try:
        before, status = running_report(device, device.power_on())["text"], device.status()
    except Refused as refusal:
        raise InputRefused(f"device {path}: it has no readable state, so nothing can be said ({refusal})") from None
    found: dict[str, Any] = {"device": str(path), "uid": device.uid.hex(), "has_version": status.trust_bundle_version}
    missing = links.missing_from(status.trust_bundle_digest.hex())
    if missing is None:
        return {**found, "links": [], "before": before, **_cannot_follow(status.trust_bundle_version)}
    try:
        enter_update_mode(device)
        for bundle in missing:
            device.receive_trust_bundle(bundle.raw)
    except Refused as refusal:
        refused = {"effect": "cannot follow", "code": refusal.code.name, "text": f"refuses: {refusal}"}
        return {**found, "links": [bundle.version for bundle in missing], "before": before, **refused}
    after = running_report(device, device.power_on())
    stops = after.get("name") == "STOPPED"
    floors = {name: status.floors.of_type(package_type) for package_type, name in _TYPE_NAMES.items()}
    return {
        **found,
        "links": [bundle.version for bundle in missing],
        "before": before,
        "effect": "stops" if stops else _effect(links, floors, missing),
        "blocked": _blocked(links, floors),
        "text": _with_blocked(after["text"], _blocked(links, floors)),
    }


def _by_report(links: Links, path: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from what a device said of itself."""
    try:
        uid, bundle, floors = str(report["uid"]), report["trust_bundle"], dict(report["floors"])
        version, digest, application = int(bundle["version"]), str(bundle["digest"]), report["application"]
        signer = bytes.fromhex(application["signer_key_id"]) if application is not None else None
        floors = {name: int(floors[name]) for name in _TYPE_NAMES.values()}
        runs = "no application" if application is None else f"{application['type']} {application['version']}"
    except (KeyError, TypeError, ValueError) as error:
        raise InputRefused(f"{path}: no report of `strongroom device status --json` ({error!r})") from None
    found: dict[str, Any] = {"device": str(path), "uid": uid, "has_version": version, "before": runs}
    missing = links.missing_from(digest)
    if missing is None:
        return {**found, "links": [], **_cannot_follow(version)}
    stops = signer is not None and links.last.stops(signer)
    text = f"{runs} STOPS: its key is revoked and marked stop" if stops else f"{runs} keeps starting"
    return {
        **found,
        "links": [link.version for link in missing],
        "effect": "stops" if stops else _effect(links, floors, missing),
        "blocked": _blocked(links, floors),
        "text": _with_blocked(text, _blocked(links, floors)),
    }


def _cannot_follow(version: int) -> dict[str, Any]:
    text = f"its trust bundle of version {version} is not in this chain: give older ones with --after, or it is a fork"
    return {"effect": "cannot follow", "blocked": [], "text": text}


def _effect(links: Links, floors: Mapping[str, int], missing: Sequence[TrustBundle]) -> str:
    if _blocked(links, floors):
        return "blocked"
    return "follows" if missing else "up to date"


def _blocked(links: Links, floors: Mapping[str, int]) -> list[str]:
    """Package types of which the device could install nothing: its floor is above the maximum."""
    return [
        name for package_type, name in _TYPE_NAMES.items() if floors[name] > links.last.limits_of(package_type).maximum
    ]


def _with_blocked(text: str, blocked: Sequence[str]) -> str:
    return f"{text}; its floor is above the maximum, so it installs no {' and no '.join(blocked)}" if blocked else text


def _status_report_of(path: Path) -> dict[str, Any] | None:
    """The file as a status report; None if it is something else, such as a device's own file."""
    try:
        with path.open("rb") as stream:
            begins = stream.read(64).lstrip()[:1]
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read ({error.strerror})") from None
    if begins != b"{":
        return None
    try:
        report = json.loads(read_input(path, "status report", _STATUS_SIZE_BYTES_MAX))
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"{path}: is not JSON ({error})") from None
    if not isinstance(report, dict):
        raise InputRefused(f"{path}: no report of `strongroom device status --json`")
    return report
