"""`strongroom cert`: the list of its commands. Those in cert_issue.py sign, those in cert_check.py need no key."""

from __future__ import annotations

import typer

from cli.commands import cert_check, cert_issue

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom cert show root-ca.pem")


@app.callback()
def cert() -> None:
    """Issue and verify X.509 certificates."""


_EXAMPLES = (
    (
        "root-ca",
        cert_issue.root_ca,
        "root-ca --key sr:root-ca:-:0001 --organization 'Example Pumps' --common-name 'Root CA' --out root-ca.pem",
    ),
    (
        "csr",
        cert_issue.csr,
        "csr --key sr:production-ca:-:0001 --organization 'Example Pumps' --common-name 'Production CA' --out ca.csr",
    ),
    (
        "production-ca",
        cert_issue.production_ca,
        "production-ca --ca-key sr:root-ca:-:0001 --ca-cert root-ca.pem --csr ca.csr "
        "--organization 'Example Pumps' --common-name 'Production CA' --out production-ca.pem",
    ),
    (
        "lot-ca",
        cert_issue.lot_ca,
        "lot-ca --ca-key sr:production-ca:-:0001 --ca-cert production-ca.pem --csr lot.csr "
        "--organization 'Example Pumps' --common-name 'Lot LOT-2026-11' --out lot-ca.pem",
    ),
    (
        "code-signing",
        cert_issue.code_signing,
        "code-signing --ca-key sr:production-ca:-:0001 --ca-cert production-ca.pem --csr tools.csr "
        "--organization 'Example Pumps' --common-name 'Tools' --out tools.pem",
    ),
    (
        "device-identity",
        cert_issue.device_identity,
        "device-identity --ca-key sr:production-ca:-:0001 --ca-cert production-ca.pem --csr device.csr "
        "--organization 'Example Pumps' --serial-number P2-00042 --hardware-type 1.3.6.1.4.1.99999.1 --out device.pem",
    ),
    (
        "crl",
        cert_issue.crl,
        "crl --ca-key sr:production-ca:-:0001 --ca-cert production-ca.pem --previous crl-1.pem "
        "--revoke 4f2a…:superseded --days 30 --out crl-2.pem",
    ),
    ("export", cert_check.export, "export sr:root-ca:-:0001 --out root-ca.pem"),
    ("show", cert_check.show, "show root-ca.pem"),
    (
        "verify",
        cert_check.verify,
        "verify tools.pem --anchor root-ca.pem --chain production-ca.pem --crl root.crl.pem --crl production.crl.pem",
    ),
)

for _name, _command, _example in _EXAMPLES:
    app.command(_name, epilog=f"Example: strongroom cert {_example}")(_command)
