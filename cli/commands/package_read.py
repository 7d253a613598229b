"""The commands of `strongroom package` that only read packages: verify, inspect, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.context import board_of, open_store, repository_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, progress, read_input, table

PackageArgument = Annotated[Path, typer.Argument(metavar="PKG", help="The package (.srp).")]


def verify(
    context: typer.Context,
    package: PackageArgument,
    device: Annotated[
        Path | None, typer.Option(metavar="IMG", help="Ask this simulated device; its file is not changed.")
    ] = None,
    product: Annotated[
        str | None, typer.Option("--product", "-p", help="Ask for a new device of this product instead.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --product: the device's trust bundle.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a device would do with a package: accept it, or refuse it and why. Exit code 11 if it is refused.

    The reference bootloader is run on a scratch copy of the device.
    """
    from cli.package_judgement import judged_by_device, judged_by_product, judgement_text

    if (device is None) is (product is None) or (product is None) is not (bundle is None):
        raise typer.BadParameter("give either --device, or --product with --bundle")
    if device is not None:
        with progress("verifying", 100) as bar:
            verdict = judged_by_device(device, package, lambda done, total: bar(done * 100 // total))
    elif product is not None and bundle is not None:
        repository = repository_of(context)
        config = repository.product(product)
        with open_store(repository) as store:
            keys = [store.key(key.label).public_key for key in config.keys.bootloader_release]
        data = read_input(bundle, "trust bundle", 64 * 1024)
        built_in = [key.point for key in keys if key is not None]
        verdict = judged_by_product(config, board_of(repository, config.board), data, built_in, package)
    emit(verdict, as_json, judgement_text(package, verdict))
    if not verdict["accepted"]:
        raise typer.Exit(ExitCode.REFUSED_BY_DEVICE)


def inspect(package: PackageArgument, as_json: JsonOption = False) -> None:
    """Show every field of a package, and check its format and every chunk. Says nothing about who signed it."""
    from cli.package_fields import package_fields, package_text, read_package

    fields = package_fields(read_package(package))
    emit(fields, as_json, package_text(fields))


def diff(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="A", help="A package; alone also a request.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="B", help="Another one; without it, the last release is compared with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two packages field by field, or what is to be released with the last release.

    Exit code 10 if two packages share what none may, as a salt or key.
    """
    if second is None:
        from cli.commands.package_request import diff_with_last_release

        diff_with_last_release(context, first, as_json=as_json)
        return
    from cli.package_fields import differences, read_package

    rows = differences(read_package(first), read_package(second))
    findings = [str(row["finding"]) for row in rows if row["finding"]]
    text = table(
        ("FIELD", "FIRST", "SECOND"), [(row["field"], _short(row["first"]), _short(row["second"])) for row in rows]
    )
    summary = "\n".join(findings) or "nothing is shared that must differ"
    emit(rows, as_json, f"{text}{summary}")
    if findings:
        raise typer.Exit(ExitCode.FINDINGS)


def _short(value: object) -> str:
    """Values as they fit a terminal; --json has them whole."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:36]}…"
