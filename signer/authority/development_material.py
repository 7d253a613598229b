"""What production refuses because it was made for development: test keys, simulated devices.

Published test keys end up in products again and again (GHSA-gcxh-546h-phg4 is one case), so they are refused by value.
"""

from __future__ import annotations

from pathlib import Path

from pki.errors import PolicyViolation
from pki.values import PublicKey
from signer.authority.model import Environment

RULE_KNOWN_TEST_KEY = "DEV-01"
RULE_FAKE_PATH = "DEV-02"
RULE_SIMULATED_DEVICE = "DEV-03"

# SHA-256 of the SubjectPublicKeyInfo of P-256 keys whose private half is public.
_KNOWN_TEST_KEYS = {
    "e30466f6b8470c1f29070b17f1e2d3e94d445e3f608087fdc711e4382bb538b6": "MCUboot's root-ec-p256.pem",
    "3c23fc4e1d332a0c86e6a8bf6ecf26046d702302e135bf53fc04a009a33a78c5": "MCUboot's enc-ec256-priv.pem",
    "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4": "the example key of RFC 6979, A.2.5",
}


def refuse_known_test_key(environment: Environment, key: PublicKey) -> None:
    """Raise PolicyViolation DEV-01 in production if the private half of `key` is published."""
    owner = _KNOWN_TEST_KEYS.get(key.spki_sha256.hex())
    if environment is Environment.PRODUCTION and owner is not None:
        raise PolicyViolation(RULE_KNOWN_TEST_KEY, f"key {key.key_id.hex()} is a published test key ({owner})")


def refuse_fake_path(environment: Environment, path: Path) -> None:
    """Raise PolicyViolation DEV-02 in production for a file under a folder named `fake`, where test material lives."""
    if environment is Environment.PRODUCTION and "fake" in path.resolve().parts:
        raise PolicyViolation(RULE_FAKE_PATH, f"{path} lies under a `fake` folder: test material is not for production")


def refuse_simulated_device(environment: Environment, simulation_only: bool, uid: bytes) -> None:
    """Raise PolicyViolation DEV-03 in production for a device that exists in simulation only."""
    if environment is Environment.PRODUCTION and simulation_only:
        raise PolicyViolation(
            RULE_SIMULATED_DEVICE, f"device {uid.hex()} is a simulation: production packages refuse it"
        )
