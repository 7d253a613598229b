"""Options that many commands share, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
OutputOption = Annotated[Path, typer.Option("--out", "-o", help="The file to write; it must not exist yet.")]
ProductOption = Annotated[str, typer.Option("--product", "-p", help="The product, by the name of its file.")]
TokenOption = Annotated[str, typer.Option("--token", "-t", help="The token, by its name in the site file.")]
