"""`strongroom audit`: the list of its commands; each is imported when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click
import typer

from cli.late_group import LateGroup

_LOG = "cli.commands.audit_log"
_READ = "cli.commands.audit_read"
_COPY = "cli.commands.audit_copy"


class _Audit(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "init": (_LOG, "init"),
        "show": (_READ, "show --product pump-x2 --since 2026-11-01"),
        "verify": (_READ, "verify --earlier checkpoint-of-last-month"),
        "checkpoint": (_LOG, "checkpoint"),
        "prove": (_LOG, "prove 1207 --json"),
        "backup": (_COPY, "backup backup-2026-11-27"),
        "restore": (_COPY, "restore backup-2026-11-27 --seen witness/seen/log.checkpoint"),
        "rebuild": (_LOG, "rebuild"),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, and the group of those for witnesses."""
        return [*super().list_commands(ctx), "witness"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As LateGroup; the inner group is imported when it is asked for."""
        if cmd_name != "witness":
            return super().get_command(ctx, cmd_name)
        from cli.commands.audit_witness import app as witness_app

        command = typer.main.get_command(witness_app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Audit,
    name="audit",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom audit show --product pump-x2",
)


@app.callback()
def audit() -> None:
    """Keep, read and verify the audit log."""
