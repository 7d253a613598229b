"""A fork server: everything is imported once and no PKCS#11 module is loaded; each command runs in a forked child.

Run as a program under LD_PRELOAD of ceremony_rig.c. It takes one JSON request a line and answers with one line.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cli.ceremony_answers
import cli.ceremony_files
import cli.ceremony_holding
import cli.ceremony_place
import cli.commands.ceremony_hold
import cli.trust_bundle_content
from cli.main import run
from signer.authority.repository import AuthorityRepository
from signer.tokens.function_list import FUNCTION_NAMES, FunctionList
from tests.faults.ceremony_state import final_state

DURABLE_NAMES = (
    *("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat"),
    *("ftruncate", "mkdir"),
)
PKCS11_BASE = 100


def kind_name(kind: int) -> str:
    return FUNCTION_NAMES[kind - PKCS11_BASE] if kind >= PKCS11_BASE else DURABLE_NAMES[kind]


def wrap_modules(rig: ctypes.CDLL) -> None:
    """Every PKCS#11 module is wrapped between being loaded and being initialised."""
    load = FunctionList.of_file

    def wrapped(path: str) -> FunctionList:
        functions = load(path)
        assert rig.rig_wrap(ctypes.c_void_p(functions.address)) == 0
        return functions

    FunctionList.of_file = staticmethod(wrapped)  # type: ignore[method-assign]


def without_intents() -> None:
    """The positive control: a variant that journals no intent before it asks the token."""
    from signer.authority.key_intents import KeyIntents

    KeyIntents.write = lambda self, intent: None  # type: ignore[method-assign]


VARIANTS: dict[str, Callable[[], None]] = {"sound": lambda: None, "without-intents": without_intents}


def serve(request: dict[str, Any], rig: ctypes.CDLL) -> None:
    """In the child: run the command, then look at what it left; the report goes to a file."""
    os.environ["SOFTHSM2_CONF"] = request["softhsm_conf"]
    VARIANTS[request.get("variant", "sound")]()
    out, err = io.StringIO(), io.StringIO()
    rig.rig_arm(ctypes.c_long(request["kill_at"]))
    with redirect_stdout(out), redirect_stderr(err):
        code = int(run(["--authority", request["root"], *request["arguments"]]))
    rig.rig_disarm()
    kinds = [kind_name(rig.rig_kind(ctypes.c_long(index))) for index in range(rig.rig_count())]
    report: dict[str, Any] = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "moments": kinds}
    if request.get("look"):
        report["state"] = final_state(AuthorityRepository(Path(request["root"])), request["look"])
    Path(request["report"]).write_text(json.dumps(report), encoding="utf-8")


def main() -> None:
    rig = ctypes.CDLL(os.environ["LD_PRELOAD"])
    rig.rig_count.restype = ctypes.c_long
    wrap_modules(rig)
    # The program as it was when the ceremony was rehearsed, also while somebody edits it.
    cli.ceremony_files.tool_digest = lambda: os.environ["CEREMONY_TOOL_DIGEST"]  # type: ignore[assignment]
    gc.collect()
    gc.freeze()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 70
            try:
                serve(request, rig)
                status = 0
            except BaseException:  # noqa: BLE001 (the child ends here, whatever happened)
                Path(request["report"] + ".error").write_text(traceback.format_exc(), encoding="utf-8")
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9
        sys.stdout.write(json.dumps({"killed": killed, "status": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
