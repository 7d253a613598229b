"""Run by the Python of the stock clients: one session of `smpclient`, unmodified. Prints what it saw as JSON.

python smpclient_session.py udp ADDRESS PACKAGE
python smpclient_session.py serial PATH PACKAGE
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageErase, ImageStatesRead
from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead, ResetWrite
from smpclient.transport.serial import SMPSerialTransport
from smpclient.transport.udp import SMPUDPTransport


async def states(client: SMPClient) -> list[dict[str, Any]]:
    response = await client.request(ImageStatesRead())
    assert success(response), response
    return [
        {
            "version": image.version,
            "hash": bytes(image.hash).hex(),
            "active": image.active,
            "confirmed": image.confirmed,
        }
        for image in response.images
    ]


async def session(kind: str, address: str, package: bytes) -> dict[str, Any]:
    transport = SMPUDPTransport() if kind == "udp" else SMPSerialTransport()
    seen: dict[str, Any] = {}
    async with SMPClient(transport, address) as client:
        echo = await client.request(EchoWrite(d="Grüße"))
        assert success(echo), echo
        seen["echo"] = echo.r
        parameters = await client.request(MCUMgrParametersRead())
        assert success(parameters), parameters
        seen["buf_size"] = parameters.buf_size
        seen["before"] = await states(client)
        erased = await client.request(ImageErase())
        assert success(erased), erased
        offsets = [offset async for offset in client.upload(package)]
        seen["uploaded"], seen["requests"] = offsets[-1], len(offsets)
        reset = await client.request(ResetWrite())
        assert success(reset), reset
    await asyncio.sleep(1.0)
    async with SMPClient(transport, address) as client:
        seen["after"] = await states(client)
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(session(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()))))
