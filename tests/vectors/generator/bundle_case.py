"""One trust bundle vector: a file, what it is offered as, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.vectors.generator.bundle import Bundle, BundlePlan, make

# genesis: a new device's first bundle. successor: offered to a device that has `previous`. current: that bundle again.
OFFERS = ("genesis", "successor", "current")
# parse: the checks a parser makes. trust: what the offer demands beyond them.
STAGES = ("parse", "trust", "complete")


@dataclass(frozen=True, slots=True)
class BundleCase:
    """`previous` names the vector that the device has, where that matters."""

    name: str
    description: str
    code: str
    stage: str
    bundle: Bundle
    file: bytes
    offered_as: str = "genesis"
    previous: str | None = None

    def __post_init__(self) -> None:
        """Refuse a slip of the pen in a table."""
        if self.stage not in STAGES or (self.code == "OK") != (self.stage == "complete"):
            raise ValueError(f"{self.name}: code {self.code} at stage {self.stage}")
        if self.offered_as not in OFFERS or (self.offered_as == "genesis") != (self.previous is None):
            raise ValueError(f"{self.name}: offered as {self.offered_as} after {self.previous}")


def parsed(plan: BundlePlan, description: str, code: str) -> BundleCase:
    """A vector that a parser must refuse."""
    bundle = make(plan)
    return BundleCase(plan.name, description, code, "parse", bundle, bundle.file)


def offered(
    plan: BundlePlan, description: str, code: str, offered_as: str = "genesis", previous: str | None = None
) -> BundleCase:
    """A well-formed vector that is taken (OK) or not trusted."""
    bundle = make(plan)
    stage = "complete" if code == "OK" else "trust"
    return BundleCase(plan.name, description, code, stage, bundle, bundle.file, offered_as, previous)
