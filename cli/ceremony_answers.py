"""A room without people: the answers of a rehearsal, or of a file where a development environment allows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ceremonies.conduct import StepView, StoppedByPeople
from ceremonies.strict_yaml import parse_strict_yaml
from cli.output import read_input, say
from pki.errors import ConfigurationError

_STOP = "stop"


class Answers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`--answers FILE`. With `as_scripted`, every step that `answers` does not name is answered as the script says."""

    format: Literal["strongroom-ceremony-answers-1"]
    as_scripted: bool = False
    absent: Annotated[list[str], msgspec.Meta(max_length=32)] = []
    shares: str | None = None
    """A folder under one named `fake`, where the shares of custodians are kept and taken from."""
    answers: Annotated[dict[str, str], msgspec.Meta(max_length=256)] = {}


def read_answers(path: Path) -> Answers:
    """Read an answers file, strict YAML. Raises ConfigurationError, InputRefused."""
    value = parse_strict_yaml(read_input(path, "answers", 64 * 1024), str(path))
    try:
        return msgspec.convert(value, Answers, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


class AnsweringRoom:
    """Implements `ceremonies.conduct.Room`: answers by itself, and says on stderr what is done."""

    def __init__(self, answers: Answers, *, quiet: bool = False) -> None:
        self._answers = answers
        self._quiet = quiet

    def say(self, view: StepView) -> None:
        """Nobody listens."""
        self._tell(view, "said")

    def confirm(self, view: StepView, answers: Sequence[str], attempt: int) -> str:
        """The answer of the file, or the script's own. Raises ConfigurationError if there is none, or it was wrong."""
        if attempt > 1:
            raise ConfigurationError(f"the answer to step {view.step.id!r} is not one that the script takes: {answers}")
        given = self._answers.answers.get(view.step.id)
        if given == _STOP:
            raise StoppedByPeople
        if given is None and view.step.person in self._answers.absent:
            given = answers[1]
        if given is None and self._answers.as_scripted:
            given = answers[0]
        if given is None:
            raise ConfigurationError(f"the answers have none for step {view.step.id!r}, which takes {answers[0]!r}")
        self._tell(view, f"typed: {given}")
        return given

    def before_unlock(self, view: StepView, token: str, *, again: bool) -> None:
        """The PIN comes from the source of the site file."""
        self._tell(view, f"token {token} is unlocked" + (" again" if again else ""))

    def before_act(self, view: StepView) -> None:
        """Said when it is done."""

    def after_act(self, view: StepView, fixed: dict[str, Any], varying: dict[str, Any]) -> None:  # noqa: ARG002
        """One line."""
        self._tell(view, view.step.text)

    def _tell(self, view: StepView, text: str) -> None:
        if not self._quiet:
            say(f"{view.number:3d} of {view.total}  {view.step.id}: {text}")


AS_SCRIPTED = Answers(format="strongroom-ceremony-answers-1", as_scripted=True)
