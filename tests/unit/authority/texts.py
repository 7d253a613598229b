"""A product file that passes, for tests to spoil."""

from __future__ import annotations

import uuid
from pathlib import Path

from signer.authority.model import Product
from signer.authority.product_template import product_template
from signer.authority.toml_files import parse_toml

PRODUCT_ID = uuid.UUID("6f1a4b7e-3c52-4d0e-9b7d-0a3c5e8f1d24")
PRODUCT_TEXT = product_template("pump-x2", PRODUCT_ID, "stm32f405-full")


def product_of(text: str) -> Product:
    return parse_toml(Path("products/pump-x2.toml"), text, Product)
