"""`strongroom ceremony`: the list of its commands. Each is imported when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_WORDS = "--digest @words.txt"


class _Ceremony(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "new": (
            "cli.commands.ceremony_prepare",
            "new genesis-2026 --plan root-genesis --value product=pump-x2 "
            "--person operator=ada --person witness=bob --person witness=cy",
        ),
        "plan": ("cli.commands.ceremony_prepare", "plan genesis-2026"),
        "preflight": ("cli.commands.ceremony_prepare", "preflight genesis-2026"),
        "rehearse": ("cli.commands.ceremony_hold", "rehearse genesis-2026"),
        "run": ("cli.commands.ceremony_hold", f"run genesis-2026 {_WORDS}"),
        "resume": ("cli.commands.ceremony_hold", "resume genesis-2026"),
        "verify": ("cli.commands.ceremony_read", "verify genesis-2026"),
        "show": ("cli.commands.ceremony_read", "show genesis-2026"),
        "report": ("cli.commands.ceremony_report", "report genesis-2026"),
        "list": ("cli.commands.ceremony_list", "list"),
    }


app = typer.Typer(
    cls=_Ceremony,
    name="ceremony",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom ceremony plan genesis-2026",
)


@app.callback()
def ceremony() -> None:
    """Plan, rehearse, run, resume and verify key ceremonies."""
