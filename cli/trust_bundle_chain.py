"""A chain of trust bundles as a device follows it, asked link by link of the reference bootloader's own rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.succession import is_successor, require_built_in, verify_offered_bundle
from bootloader.reference.trust_bundle import TrustBundle, parse_trust_bundle, verify_genesis, verify_own_threshold
from cli.output import read_input

BUNDLE_FILE_SIZE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What a device of the product knows beside the chain. The keys are asked for when first needed."""

    product_id: bytes
    built_in_keys: Callable[[], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class ChainRefusal:
    """The first link that a device does not follow."""

    path: Path
    refusal: Refused


def read_bundle_file(path: Path) -> bytes:
    """The bytes of a trust bundle's file, whatever they are. Raises InputRefused."""
    return read_input(path, "trust bundle", BUNDLE_FILE_SIZE_BYTES_MAX)


def follow_chain(
    paths: Sequence[Path], product: ProductFacts | None = None
) -> tuple[tuple[TrustBundle, ...], ChainRefusal | None]:
    """The bundles that a device takes, in order, up to the first that it refuses. Raises InputRefused.

    The first one is trusted as genesis if it is version 1, else by its own roots. Product and built-in keys are judged
    only where a product is given.
    """
    taken: list[TrustBundle] = []
    for path in paths:
        data = read_bundle_file(path)
        try:
            bundle = parse_trust_bundle(data)
            _judge(bundle, taken[-1] if taken else None)
            if product is not None:
                right = bundle.product_id == product.product_id
                require(right, DeviceCode.BUNDLE_PRODUCT, f"for product {bundle.product_id.hex()}")
                require_built_in(bundle, product.built_in_keys())
        except Refused as refusal:
            return tuple(taken), ChainRefusal(path, refusal)
        taken.append(bundle)
    return tuple(taken), None


def _judge(bundle: TrustBundle, current: TrustBundle | None) -> None:
    if current is not None:
        verify_offered_bundle(bundle, current)
        detail = f"version {bundle.version} stands twice in the chain"
        require(is_successor(bundle, current), DeviceCode.BUNDLE_SUCCESSION, detail)
    elif bundle.version == 1:
        verify_genesis(bundle)
    else:
        verify_own_threshold(bundle)
