"""`strongroom cert` on real tokens, with openssl as the oracle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from pki.key_specs import KEY_SPECS
from pki.roles import Role
from signer.store.key_store import open_key_store
from signer.tokens import KeyRef, PinFile, parse_pkcs11_uri
from signer.tokens.token import Token
from tests.cli.conftest import softhsm_module
from tests.cli.world import World, label
from tests.softhsm_fixtures import TokenRig

ROOT_KEY, PRODUCTION_KEY, CODE_KEY = "sr:root-ca:-:0001", "sr:production-ca:-:0001", "sr:code-signing:-:0001"
ORGANIZATION = ("--organization", "Example Pumps")
NAMES = {name: (*ORGANIZATION, "--common-name", name) for name in ("Root CA", "Production CA", "Tools")}


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout


def device_request(folder: Path, subject: str = "/O=Example Pumps/serialNumber=P2-00042") -> Path:
    """A request made by a device, here by openssl."""
    key, csr = folder / "device.key", folder / "device.csr"
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", subject, "-out", csr)
    return csr


def root_ca(world: World) -> Path:
    out = world.out / "root-ca.pem"
    world.ok("cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", out)
    return out


def production_ca(world: World) -> tuple[Path, Path]:
    root, csr, out = root_ca(world), world.out / "ca.csr", world.out / "production-ca.pem"
    world.ok("cert", "csr", "--key", PRODUCTION_KEY, *NAMES["Production CA"], "--out", csr)
    ca = ("--ca-key", ROOT_KEY, "--ca-cert", root)
    world.ok("cert", "production-ca", *ca, "--csr", csr, *NAMES["Production CA"], "--out", out)
    return root, out


def code_signing(world: World) -> tuple[Path, Path, Path]:
    root, production = production_ca(world)
    csr, out = world.out / "tools.csr", world.out / "tools.pem"
    world.ok("cert", "csr", "--key", CODE_KEY, *NAMES["Tools"], "--out", csr)
    ca = ("--ca-key", PRODUCTION_KEY, "--ca-cert", production)
    world.ok("cert", "code-signing", *ca, "--csr", csr, *NAMES["Tools"], "--out", out)
    return root, production, out


def crl(world: World, key: str, certificate: Path, name: str, *options: str | Path) -> Path:
    out = world.out / name
    world.ok("cert", "crl", "--ca-key", key, "--ca-cert", certificate, "--days", "30", "--out", out, *options)
    return out


def serial_of(certificate: Path) -> str:
    return openssl("x509", "-in", certificate, "-noout", "-serial").strip().removeprefix("serial=").lower()


def test_the_whole_chain_is_accepted_by_openssl_and_recorded(world: World) -> None:
    root, production, tools = code_signing(world)
    openssl("verify", "-CAfile", root, "-untrusted", production, tools)
    for key, file in ((ROOT_KEY, root), (PRODUCTION_KEY, production), (CODE_KEY, tools)):
        shown = world.ok("key", "show", key, "--json").json
        assert [item["serial_number"] for item in shown["certificates"]] == [serial_of(file)]
        again = world.out / f"again-{file.name}"
        world.ok("cert", "export", key, "--out", again)
        assert again.read_bytes() == file.read_bytes()


def test_a_device_identity(world: World) -> None:
    root, production = production_ca(world)
    out = world.out / "device.pem"
    made = world.process(
        "cert", "device-identity", "--ca-key", PRODUCTION_KEY, "--ca-cert", production, "--csr",
        device_request(world.out), *ORGANIZATION, "--serial-number", "P2-00042", "--hardware-type",
        "1.3.6.1.4.1.99999.1", "--out", out, "--json",
    )  # fmt: skip
    assert made.code == 0, made
    assert made.json["not_after"] == "9999-12-31T23:59:59+00:00"
    openssl("verify", "-CAfile", root, "-untrusted", production, out)
    verified = world.ok("cert", "verify", out, "--anchor", root, "--chain", production, "--json").json
    assert (verified["purpose"], verified["revocation_checked"]) == ("device-identity", False)


def test_revocation(world: World) -> None:
    root, production, tools = code_signing(world)
    chain = ("--anchor", root, "--chain", production)
    root_crl = crl(world, ROOT_KEY, root, "root.crl", "--first")
    first = crl(world, PRODUCTION_KEY, production, "1.crl", "--first")
    verified = world.ok("cert", "verify", tools, *chain, "--crl", root_crl, "--crl", first, "--json").json
    assert verified["revocation_checked"] is True

    revoke = ("--revoke", f"{serial_of(tools)}:keyCompromise")
    second = crl(world, PRODUCTION_KEY, production, "2.crl", "--previous", first, *revoke)
    result = world.process("cert", "verify", tools, *chain, "--crl", root_crl, "--crl", second)
    assert result.code == ExitCode.VERIFICATION
    assert "is revoked" in result.error
    assert "Key Compromise" in openssl("crl", "-in", second, "-noout", "-text")
    assert world.ok("cert", "show", second, "--json").json["revoked"][0]["serial_number"] == serial_of(tools)
    with open_key_store(world.repository.key_store_path) as store:
        assert store.key(CODE_KEY).certificate is None
    assert "no current certificate" in world.fails(ExitCode.INPUT, "cert", "export", CODE_KEY, "--out", world.out / "x")

    third = crl(world, PRODUCTION_KEY, production, "3.crl", "--previous", second)
    assert len(world.ok("cert", "show", third, "--json").json["revoked"]) == 1, "revocations are carried over"


def test_show(world: World) -> None:
    root = root_ca(world)
    shown = world.process("cert", "show", root, "--json").json
    assert (shown["kind"], shown["serial_number"]) == ("certificate", serial_of(root))
    request = world.ok("cert", "show", device_request(world.out)).out
    assert "certification-request" in request
    nothing = world.out / "nothing"
    nothing.write_text("nothing", encoding="utf-8")
    assert "neither certificate nor" in world.fails(ExitCode.INPUT, "cert", "show", nothing)
    assert "cannot be read" in world.fails(ExitCode.INPUT, "cert", "show", world.out / "none")


def test_verify_at_other_times_and_for_other_purposes(world: World) -> None:
    root, production, tools = code_signing(world)
    chain = ("cert", "verify", tools, "--anchor", root, "--chain", production)
    world.ok(*chain, "--purpose", "code-signing")
    world.fails(ExitCode.VERIFICATION, *chain, "--purpose", "device-identity")
    world.fails(ExitCode.VERIFICATION, *chain, "--at", "2020-01-01T00:00:00Z")
    world.fails(ExitCode.VERIFICATION, *chain, "--at", "2050-01-01T00:00:00Z")
    world.fails(ExitCode.VERIFICATION, "cert", "verify", tools, "--anchor", production)
    assert "time zone" in world.fails(ExitCode.INPUT, *chain, "--at", "2026-01-01T00:00:00")
    assert "write the time as" in world.fails(ExitCode.INPUT, *chain, "--at", "tomorrow")


# Refusals


def test_a_name_that_was_not_approved(world: World) -> None:
    _, production = production_ca(world)
    csr = device_request(world.out, "/O=Example Pumps/serialNumber=P2-00043")
    out = world.out / "device.pem"
    line = world.fails(
        ExitCode.POLICY, "cert", "device-identity", "--ca-key", PRODUCTION_KEY, "--ca-cert", production, "--csr", csr,
        *ORGANIZATION, "--serial-number", "P2-00042", "--hardware-type", "1.3.6.1.4.1.99999.1", "--out", out,
    )  # fmt: skip
    assert "[CSR-04]" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("key", "code", "text"),
    [
        ("sr:root-ca:-:0009", ExitCode.POLICY, "KS-20"),
        (CODE_KEY, ExitCode.POLICY, "KS-21"),
        (label("compat"), ExitCode.POLICY, "KS-21"),
    ],
)
def test_a_key_that_is_no_root_ca(world: World, key: str, code: ExitCode, text: str) -> None:
    out = world.out / "root.pem"
    assert text in world.fails(code, "cert", "root-ca", "--key", key, *NAMES["Root CA"], "--out", out)
    assert list(world.out.iterdir()) == []


def test_two_keys_of_one_label_and_id_sign_nothing(world: World) -> None:
    uri = parse_pkcs11_uri(world.repository.site().tokens["ca"].uri)
    with Token(softhsm_module(), uri).open(PinFile(world.pin_file), writable=True) as session:
        private, _, _ = session.locate_key_pair(KeyRef(label=ROOT_KEY))
        private.copy({})
    out = world.out / "root.pem"
    line = world.fails(ExitCode.TOKEN, "cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", out)
    assert "is there 2 times" in line
    assert list(world.out.iterdir()) == []


def test_a_key_missing_on_its_token_signs_nothing(world: World) -> None:
    uri = parse_pkcs11_uri(world.repository.site().tokens["ca"].uri)
    with Token(softhsm_module(), uri).open(PinFile(world.pin_file), writable=True) as session:
        session.dangerously_destroy_key(KeyRef(label=ROOT_KEY))
    out = world.out / "root.pem"
    line = world.fails(ExitCode.TOKEN, "cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", out)
    assert "is not on the token" in line
    assert list(world.out.iterdir()) == []


def test_a_key_replaced_on_its_token_signs_nothing(world: World) -> None:
    """Another key under the recorded label has another CKA_ID, so it is not found."""
    uri = parse_pkcs11_uri(world.repository.site().tokens["ca"].uri)
    with Token(softhsm_module(), uri).open(PinFile(world.pin_file), writable=True) as session:
        session.dangerously_destroy_key(KeyRef(label=ROOT_KEY))
        session.generate(KEY_SPECS[Role.ROOT_CA], ROOT_KEY)
    out = world.out / "root.pem"
    world.fails(ExitCode.TOKEN, "cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", out)


def test_a_suspended_ca_issues_nothing(world: World) -> None:
    world.ok("key", "state", ROOT_KEY, "suspended", "--reason", "away")
    out = world.out / "root.pem"
    line = world.fails(ExitCode.POLICY, "cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", out)
    assert "[KS-02]" in line


def test_a_device_role_key_signs_no_request(world: World) -> None:
    out = world.out / "x.csr"
    line = world.fails(ExitCode.POLICY, "cert", "csr", "--key", label("compat"), *NAMES["Tools"], "--out", out)
    assert "[CA-01]" in line
    world.fails(ExitCode.KEY_STORE, "cert", "csr", "--key", "sr:code-signing:-:0009", *NAMES["Tools"], "--out", out)
    assert list(world.out.iterdir()) == []


def test_a_request_of_a_key_of_another_role(world: World) -> None:
    _, production = production_ca(world)
    csr, out = world.out / "ca.csr", world.out / "code.pem"
    ca = ("--ca-key", PRODUCTION_KEY, "--ca-cert", production)
    line = world.fails(
        ExitCode.POLICY, "cert", "code-signing", *ca, "--csr", csr, *NAMES["Production CA"], "--out", out
    )
    assert "[CA-04]" in line


def test_the_issuer_must_be_the_one_of_the_certificate(world: World) -> None:
    root = root_ca(world)
    csr, out = world.out / "tools.csr", world.out / "tools.pem"
    world.ok("cert", "csr", "--key", CODE_KEY, *NAMES["Tools"], "--out", csr)
    ca = ("--ca-key", PRODUCTION_KEY, "--ca-cert", root)
    line = world.fails(ExitCode.POLICY, "cert", "code-signing", *ca, "--csr", csr, *NAMES["Tools"], "--out", out)
    assert "[CA-02]" in line


def test_an_existing_output_is_refused_before_anything_is_signed(world: World) -> None:
    root = root_ca(world)
    before = root.read_bytes()
    world.fails(ExitCode.OUTPUT, "cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", root)
    assert root.read_bytes() == before
    assert len(world.ok("key", "show", ROOT_KEY, "--json").json["certificates"]) == 1


def test_the_first_and_the_next_crl(world: World) -> None:
    root = root_ca(world)
    command = ("cert", "crl", "--ca-key", ROOT_KEY, "--ca-cert", root, "--days", "30", "--out", world.out / "x.crl")
    assert world.run(*command).code == ExitCode.USAGE
    first = crl(world, ROOT_KEY, root, "1.crl", "--first")
    assert world.run(*command, "--first", "--previous", first).code == ExitCode.USAGE
    assert "hexadecimal" in world.fails(ExitCode.INPUT, *command, "--first", "--revoke", "xyz")
    assert "reason" in world.fails(ExitCode.INPUT, *command, "--first", "--revoke", "12:boredom")
    foreign = (
        "cert",
        "crl",
        "--ca-key",
        CODE_KEY,
        "--ca-cert",
        root,
        "--days",
        "3",
        "--first",
        "--out",
        world.out / "y",
    )
    assert "[CA-01]" in world.fails(ExitCode.POLICY, *foreign)


def test_production_refuses_a_request_under_a_fake_folder(world: World) -> None:
    _, production = production_ca(world)
    authority = world.root / "strongroom.toml"
    text = authority.read_text(encoding="utf-8")
    csr = device_request(world.out)
    fake = world.root / "fake" / "device.csr"
    csr.rename(fake)
    pins = world.site_file.read_text(encoding="utf-8")
    (world.root / "pins").mkdir()
    world.pin_file.rename(world.root / "pins" / "user.pin")
    world.site_file.write_text(pins.replace("fake/user.pin", "pins/user.pin"), encoding="utf-8")
    # Production signs nothing without an audit log (AL-02).
    world.ok("key", "generate", "log", "--token", "ca", "--activate")
    text += '\n[log]\ntoken = "ca"\nlabel = "sr:log:-:0001"\n'
    authority.write_text(text, encoding="utf-8")
    world.ok("audit", "init")
    authority.write_text(text.replace('"development"', '"production"'), encoding="utf-8")
    out = world.out / "device.pem"
    issue = (
        "cert", "device-identity", "--ca-key", PRODUCTION_KEY, "--ca-cert", production, *ORGANIZATION,
        "--serial-number", "P2-00042", "--hardware-type", "1.3.6.1.4.1.99999.1", "--out", out, "--csr",
    )  # fmt: skip
    assert "[DEV-02]" in world.fails(ExitCode.POLICY, *issue, fake)
    fake.rename(csr)
    world.ok(*issue, csr)


# The other module


def test_a_root_ca_on_nss_softokn(world: World, nss: TokenRig) -> None:
    world.site_file.write_text(
        f'format = 1\nname = "main"\n[modules.nss]\npath = "{nss.config.path}"\n'
        f'init_args = "{nss.config.init_arguments}"\n[tokens.nss]\nmodule = "nss"\nuri = "{nss.info.uri()}"\n'
        f'pin = {{ source = "file", path = "{nss.pin_source.path}" }}\n',
        encoding="utf-8",
    )
    key = world.ok("key", "generate", "root-ca", "--token", "nss", "--activate", "--json").json["label"]
    out = world.out / "root.pem"
    world.ok("cert", "root-ca", "--key", key, *NAMES["Root CA"], "--out", out)
    openssl("verify", "-CAfile", out, out)
    assert "no token with serial" in world.fails(
        ExitCode.CONFIGURATION, "cert", "root-ca", "--key", ROOT_KEY, *NAMES["Root CA"], "--out", world.out / "x.pem"
    )
