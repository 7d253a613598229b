"""What commands that talk to one device after the other share."""

from __future__ import annotations

from rpc.client import DeviceClient

_UP_SECONDS = 10.0


def bring_into_update_mode(client: DeviceClient) -> None:
    """Ask for update mode and wait until the device is there; in it already, nothing happens.

    Raises DeviceRefused BUSY while an application must not stop, LinkError.
    """
    client.enter_update_mode()
    client.wait_until_up(_UP_SECONDS)
