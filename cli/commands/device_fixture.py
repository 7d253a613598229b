"""`strongroom device fixture`: a simulated fixture for stations: nests, links, probe, supply, and operator's hands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.device_make import read_factory_blocks
from cli.context import board_of, repository_of
from cli.options import JsonOption
from cli.output import read_input
from pki.errors import InputRefused, OutputError

if TYPE_CHECKING:
    from bootloader.reference.board import Board

_LINKS_MAX = 64


def fixture(
    context: typer.Context,
    factory: Annotated[Path, typer.Option("--factory-image", metavar="HEX", help="What boards are flashed with.")],
    socket: Annotated[Path, typer.Option(metavar="PATH", help="The control socket to make.")],
    product: Annotated[
        str | None, typer.Option("--product", "-p", help="The product; its file names the board.")
    ] = None,
    board_file: Annotated[
        Path | None, typer.Option(metavar="TOML", help="The board file, where there is no authority repository.")
    ] = None,
    links: Annotated[int, typer.Option(min=1, max=_LINKS_MAX, help="How many nests there are.")] = 1,
    on: Annotated[
        str, typer.Option("--on", metavar="LINK", help="What the links are: serial, serial:PATH, udp:PORT or tcp:PORT.")
    ] = "serial",
    boards: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep each board in a device file here. Without: in memory.")
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append every byte that goes over a link to this file.")
    ] = None,
    detailed_codes: Annotated[
        bool, typer.Option("--detailed-codes", help="Answer device codes as they are, as test builds do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve a simulated fixture until SIGTERM: boards come and go by its control socket (docs/spec/fixture.md).

    Prints one line for each nest: the address that a host's --via takes.
    """
    from cli.served.bench import Bench
    from cli.served.endpoints import EndpointOption, open_endpoint
    from cli.served.fixture_control import FixtureControl
    from cli.served.fixture_process import FixtureProcess, open_control_socket
    from cli.served.nest import Nest
    from cli.served.options import ServeOptions

    chosen = _board(context, product, board_file)
    if boards is not None and not boards.is_dir():
        raise InputRefused(f"--boards {boards}: is not a folder; make it first")
    bench = Bench(chosen, read_factory_blocks(factory, chosen), boards)
    options = ServeOptions(detailed_codes=detailed_codes, power_back_after_seconds=0.0, reset_after_seconds=0.0)
    tap = None if frames is None else _appender(frames)
    option = EndpointOption.parse(on)
    nests = [Nest(number, open_endpoint(option.numbered(number, links)), options, tap) for number in range(links)]
    process = FixtureProcess(FixtureControl(bench, nests), nests, open_control_socket(socket))
    for nest in nests:
        report = {"nest": nest.number, "via": nest.endpoint.via, "socket": str(socket)}
        sys.stdout.write((json.dumps(report) if as_json else nest.endpoint.via) + "\n")
    sys.stdout.flush()
    try:
        process.run()
    finally:
        socket.unlink(missing_ok=True)


def _board(context: typer.Context, product: str | None, board_file: Path | None) -> Board:
    """Raises InputRefused, ConfigurationError."""
    from bootloader.reference.board import BOARD_FILE_SIZE_BYTES_MAX, BoardInvalid, load_board

    if product is not None and board_file is None:
        repository = repository_of(context)
        return board_of(repository, repository.product(product).board)
    if board_file is None or product is not None:
        raise typer.BadParameter("give one of --product and --board-file")
    text = read_input(board_file, "board file", BOARD_FILE_SIZE_BYTES_MAX)
    try:
        return load_board(text.decode())
    except (BoardInvalid, UnicodeDecodeError) as error:
        raise InputRefused(f"board file {board_file}: {error}") from None


def _appender(path: Path) -> Callable[[bytes], None]:
    """Appends to a file, at once. Raises OutputError."""
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise OutputError(f"--frames {path}: cannot be opened ({error.strerror})") from None

    def append(frame: bytes) -> None:
        file.write(frame)

    return append
