"""What one run of the update tool is about: the package, what is at hand, and how patient it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rpc.update.bundle_facts import BundleChain
from rpc.update.identity import IdentityKeys
from rpc.update.package_facts import PackageFile
from rpc.update.sources import CopyOf, Grants, Observer, Patience, RandomBytes, Stop


def everyone(_uid: str, _via: str) -> bool:
    """Every address counts."""
    return True


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for every device of a run. Without `keys` nothing that devices say is verified."""

    package: PackageFile
    bundles: BundleChain
    keys: IdentityKeys | None
    grants: Grants | None
    copy_of: CopyOf
    random_bytes: RandomBytes
    observer: Observer
    claim: Callable[[str, str], bool] = everyone
    """Whether this address (second) is the one through which the device with this UID (first) is worked on."""
    patience: Patience = field(default_factory=Patience)
    stop: Stop = field(default_factory=Stop)
    is_dry_run: bool = False
    reinstalls: bool = False
