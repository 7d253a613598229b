"""`strongroom`: parse the command line, run one command, turn errors into one clear line and a documented exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar

import click
import typer

from cli.exit_codes import ExitCode, exit_code_of
from cli.lazy_group import LazyGroup
from pki.errors import StrongroomError

_STOPPED = "stopped; nothing more was done"
_TYPER_INTERRUPTED = 130
"""What typer returns after Ctrl-C; when standard output is closed, it raises SystemExit instead."""


class _Strongroom(LazyGroup):
    COMMANDS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "init": ("cli.commands.init", "Make a new authority repository."),
        "doctor": ("cli.commands.doctor", "Check an authority repository, its files, tokens and keys."),
        "product": ("cli.commands.product", "Add and list products."),
        "token": ("cli.commands.token", "Initialise, list and look into PKCS#11 tokens."),
        "key": ("cli.commands.key", "Generate, list, audit and retire keys."),
        "cert": ("cli.commands.cert", "Issue and verify X.509 certificates."),
        "policy": ("cli.commands.policy", "Check and explain the policies that decide what is signed."),
        "bundle": ("cli.commands.bundle", "Make and verify trust bundles."),
        "package": ("cli.commands.package", "Prepare, sign, verify and compare firmware packages."),
        "grant": ("cli.commands.grant", "Grant packages to devices: any number, under one signature."),
        "workorder": ("cli.commands.workorder", "Order devices: prepare, request, sign, show work orders."),
        "service": ("cli.commands.service", "Order repair, decommissioning or re-provisioning of one device."),
        "ceremony": ("cli.commands.ceremony", "Plan, rehearse, run, resume and verify key ceremonies."),
        "approve": ("cli.commands.approve", "Approve a request to sign a package."),
        "audit": ("cli.commands.audit", "Keep, read and verify the audit log."),
        "registry": ("cli.commands.registry", "Keep the central registry: devices, births, firmware, grants."),
        "station": ("cli.commands.station", "Provision boards under a signed work order."),
        "update": ("cli.commands.update", "Update devices over serial lines, networks, chains and buses."),
        "device": ("cli.commands.device", "Run a simulated device on the reference bootloader."),
    }


app = typer.Typer(
    cls=_Strongroom,
    name="strongroom",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(epilog="Example: strongroom package build --help")
def _strongroom(
    context: typer.Context,
    authority: Annotated[
        Path | None,
        typer.Option(
            help="The authority repository; by default the one around this folder.", envvar="STRONGROOM_AUTHORITY"
        ),
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="The site whose tokens are used; by default the authority's.")
    ] = None,
) -> None:
    """HSM-backed keys and signed, encrypted firmware packages for microcontrollers."""
    context.obj = {"authority": authority, "site": site}


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code: never a traceback, never an undocumented code."""
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="strongroom", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        return _fail(_STOPPED, ExitCode.USAGE)
    except click.ClickException as error:
        error.show(sys.stderr)
        return ExitCode.USAGE
    except StrongroomError as error:
        return _fail(str(error), exit_code_of(error))
    except (BrokenPipeError, SystemExit) as end:
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise
        _discard_output()
        return ExitCode.OK
    except OSError as error:
        _discard_output()
        return _fail(f"{error.filename or 'output'}: {error.strerror}", ExitCode.OUTPUT)
    except Exception as error:  # noqa: BLE001 - the last resort: a traceback could show a secret held by a frame
        return _fail(f"internal error, please report it: {type(error).__name__}: {error}", ExitCode.INTERNAL)
    if result == _TYPER_INTERRUPTED:
        return _fail(_STOPPED, ExitCode.USAGE)
    return int(result) if isinstance(result, int) else ExitCode.OK


def _discard_output() -> None:
    """What is left in the buffer of a broken standard output must not fail once more at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: ExitCode) -> ExitCode:
    """One line, in which nothing can move the cursor: parts of it may come from a token or a file's name."""
    line = "".join(character if character.isprintable() else " " for character in message)
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    return code
