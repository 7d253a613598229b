"""Run by the Python of the stock clients: one session of `mcumgr_toolkit`, unmodified. Prints what it saw as JSON.

python toolkit_session.py udp ADDRESS PACKAGE
python toolkit_session.py serial PATH PACKAGE
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mcumgr_toolkit import MCUmgrClient, mcuboot_get_image_info


def connect(kind: str, address: str) -> MCUmgrClient:
    client = MCUmgrClient.udp(address) if kind == "udp" else MCUmgrClient.serial(address)
    client.set_timeout_ms(4000)
    return client


def states(client: MCUmgrClient) -> list[dict[str, Any]]:
    return [
        {
            "version": image.version,
            "hash": (image.hash or b"").hex(),
            "active": image.active,
            "confirmed": image.confirmed,
        }
        for image in client.image_get_state()
    ]


def session(kind: str, address: str, package: bytes) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    with connect(kind, address) as client:
        client.check_connection()
        client.use_auto_frame_size()
        seen["echo"] = client.os_echo("Grüße")
        seen["buf_size"] = client.os_mcumgr_parameters().buf_size
        seen["bootloader"] = client.os_bootloader_info()
        seen["before"] = states(client)
        seen["local_hash"] = mcuboot_get_image_info(package).hash.hex()
        offsets: list[int] = []
        client.image_upload(package, progress=lambda offset, _total: offsets.append(offset))
        seen["uploaded"], seen["requests"] = offsets[-1], len(offsets)
        client.os_system_reset()
    time.sleep(1.0)
    with connect(kind, address) as client:
        seen["after"] = states(client)
    return seen


if __name__ == "__main__":
    print(json.dumps(session(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes())))
