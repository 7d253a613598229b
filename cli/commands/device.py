"""`strongroom device`: the list of its commands. device_make.py makes devices, device_run.py runs them."""

from __future__ import annotations

import typer

from cli.commands import device_fixture, device_grant, device_make, device_run, device_serve, device_trust

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom device status device.img")


@app.callback()
def device() -> None:
    """Run a simulated device on the reference bootloader. Simulation only: no real device is touched."""


_EXAMPLES = (
    (
        "factory-image",
        device_make.factory_image,
        "factory-image -p pump-x2 --bootloader-a boot-a.srp --image-a boot-a.elf --bootloader-b boot-b.srp "
        "--image-b boot-b.elf --lot LOT-7 --bundle trust-1.srb -o factory.hex",
    ),
    (
        "new",
        device_make.new,
        "new device.img -p pump-x2 --factory-image factory.hex --uid 31ff6b064d4e383012471843 --operational "
        "--public device.json",
    ),
    ("install", device_run.install, "install device.img app-1.1.0.srp --cut-at-op 400 --tear torn"),
    ("boot", device_run.boot, "boot device.img --confirm"),
    ("trust-bundle", device_trust.trust_bundle, "trust-bundle device.img trust-2.srb trust-3.srb"),
    ("grant", device_grant.grant, "grant device.img grants.srg"),
    ("status", device_run.status, "status device.img --json"),
    ("events", device_run.events, "events device.img"),
    (
        "fixture",
        device_fixture.fixture,
        "fixture -p pump-x2 --factory-image factory.hex --links 4 --socket /run/user/1000/fixture",
    ),
    ("serve", device_serve.serve, "serve device-1.img device-2.img --topology chain --on serial:/tmp/chain"),
)

for _name, _command, _example in _EXAMPLES:
    app.command(_name, epilog=f"Example: strongroom device {_example}")(_command)
