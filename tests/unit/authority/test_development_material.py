"""What production refuses, and development takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from pki.values import PublicKey
from signer.authority.development_material import refuse_fake_path, refuse_known_test_key, refuse_simulated_device
from signer.authority.model import Environment

DEVELOPMENT, PRODUCTION = Environment.DEVELOPMENT, Environment.PRODUCTION

# RFC 6979, appendix A.2.5: the public key of its P-256 examples.
RFC_6979 = PublicKey(
    bytes.fromhex(
        "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
        "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
    )
)


def test_a_published_test_key() -> None:
    refuse_known_test_key(DEVELOPMENT, RFC_6979)
    with pytest.raises(PolicyViolation, match=r"\[DEV-01\].*RFC 6979") as refused:
        refuse_known_test_key(PRODUCTION, RFC_6979)
    assert refused.value.rule_id == "DEV-01"
    refuse_known_test_key(PRODUCTION, PublicKey(RFC_6979.point[:63] + b"\0"))


def test_a_path_under_a_fake_folder(tmp_path: Path) -> None:
    fake = tmp_path / "fake" / "deep" / "key.pem"
    fake.parent.mkdir(parents=True)
    fake.touch()
    link = tmp_path / "real.pem"
    link.symlink_to(fake)
    refuse_fake_path(DEVELOPMENT, fake)
    for path in (fake, link, tmp_path / "x" / ".." / "fake" / "none.pem"):
        with pytest.raises(PolicyViolation, match=r"\[DEV-02\]"):
            refuse_fake_path(PRODUCTION, path)
    refuse_fake_path(PRODUCTION, tmp_path / "fakes" / "key.pem")


def test_a_simulated_device() -> None:
    refuse_simulated_device(DEVELOPMENT, True, b"\1")
    refuse_simulated_device(PRODUCTION, False, b"\1")
    with pytest.raises(PolicyViolation, match=r"\[DEV-03\] device 01"):
        refuse_simulated_device(PRODUCTION, True, b"\1")
