"""One package vector: a file, the device it is given to, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.vectors.generator.package import Package, PackagePlan, Value, make

# Where a result is reached, in the order of the specification.
STAGES = ("head", "signatures", "rules", "recipient", "payload", "image", "complete")


@dataclass(frozen=True, slots=True)
class PackageCase:
    """`file` is what the device is given; it differs from `package.file` where it was changed after signing."""

    name: str
    description: str
    code: str
    stage: str
    package: Package
    file: bytes
    device: str = "operational"

    def __post_init__(self) -> None:
        """Refuse a slip of the pen in a table."""
        if self.stage not in STAGES or (self.code == "OK") != (self.stage == "complete"):
            raise ValueError(f"{self.name}: code {self.code} at stage {self.stage}")

    @property
    def can_be_encoded(self) -> bool:
        """Whether an encoder makes exactly this file, but for signatures and trailer, from honest inputs."""
        plan = self.package.plan
        return self.code == "OK" and plan == replace(plan, bound_uid=None, fields={})


def case(plan: PackagePlan, description: str, code: str, stage: str, device: str = "operational") -> PackageCase:
    """A vector whose file is exactly what the plan makes."""
    package = make(plan)
    return PackageCase(plan.name, description, code, stage, package, package.file, device)


def with_fields(plan: PackagePlan, **fields: Value) -> PackagePlan:
    """The plan with these fields of the manifest overridden before signing."""
    return replace(plan, fields={**plan.fields, **fields})
