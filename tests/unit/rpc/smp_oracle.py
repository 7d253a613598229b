"""The stock package `smp`, in a process of its own: it judges what rpc writes, and writes what rpc must read."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"

# One JSON question a line; bytes are hexadecimal.
PROGRAM = r"""
import json, sys
import smp.header as smphdr
from smp import image_management as image, os_management as system, packet

REQUESTS = {
    "echo": system.EchoWriteRequest, "reset": system.ResetWriteRequest,
    "parameters": system.MCUMgrParametersReadRequest,
    "image-state": image.ImageStatesReadRequest, "upload": image.ImageUploadWriteRequest,
}
REPLIES = {
    "echo": system.EchoWriteResponse, "parameters": system.MCUMgrParametersReadResponse,
    "image-state": image.ImageStatesReadResponse, "upload": image.ImageUploadWriteResponse,
}

def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    return value

def encode_lines(message):
    return b"".join(packet.encode(bytes.fromhex(message))).hex()

def decode_lines(lines):
    decoder = packet.decode()
    next(decoder)
    for line in bytes.fromhex(lines).splitlines(keepends=True):
        try:
            decoder.send(line)
        except StopIteration as end:
            return end.value.hex()
    return None

def read_request(kind, message):
    found = REQUESTS[kind].loads(bytes.fromhex(message))
    fields = found.model_dump(exclude_unset=True, exclude={"header", "version", "sequence", "smp_data"})
    head = found.header
    return {"op": head.op, "version": head.version, "group": int(head.group_id), "command": int(head.command_id),
            "sequence": head.sequence, "fields": {key: plain(value) for key, value in fields.items()}}

def write_reply(kind, sequence, fields):
    fields = {key: bytes.fromhex(value[4:]) if isinstance(value, str) and value.startswith("hex:") else value
              for key, value in fields.items()}
    return bytes(REPLIES[kind](sequence=sequence, **fields)).hex()

for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
"""


class SmpOracle:
    """One process for many questions: to import the package takes longer than to answer."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, "-I", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([function, arguments])}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)
