"""Row: read-back of decrypted data (CVE-2022-0553): no answer carries plaintext, a key, or a chosen digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.device_file import decode_device, encode_device
from tests.links.test_fuzz_server import valid_requests
from tests.scenarios.life import BOTH_INJECTED, HOST, WORLD, activated_device, locked_device
from tests.scenarios.world import image_of
from tests.unit.link.smp_rig import ACTIVATION, CHALLENGE, IMAGE, OS, OURS, READ, STATUS, WRITE, Host
from tests.unit.reference.life_builders import build_activation

TEXT = image_of("plaintext", 9000)
PLAN = WORLD.application_plan(2, image=TEXT)
PACKAGE = WORLD.application(2, image=TEXT) + bytes(144)
WINDOW = 8


class Listener(Host):
    """A host that keeps every answer."""

    def __init__(self, device: SimulatedDevice) -> None:
        super().__init__(device)
        self.answers: list[bytes] = []
        handle = self.machine.handle

        def kept(message: bytes) -> bytes | None:
            answer = handle(message)
            self.answers.append(answer or b"")
            return answer

        self.machine.handle = kept  # type: ignore[method-assign]


def pieces_of(secret: bytes) -> Iterator[bytes]:
    return (secret[at : at + WINDOW] for at in range(0, len(secret) - WINDOW + 1, WINDOW))


def test_no_answer_carries_plaintext_or_keys() -> None:
    """A whole life on the link: activated, updated, asked for everything, before and after."""
    host = Listener(decode_device(encode_device(locked_device())))
    challenge = host.ask(READ, OURS, CHALLENGE, {"p": HOST.public})["c"]
    host.send_object(ACTIVATION, build_activation(BOTH_INJECTED, challenge))
    host.ask(WRITE, OS, 5, {})
    assert host.upload(PACKAGE) == {"off": len(PACKAGE)}
    for _ in range(3):
        host.ask(READ, OURS, STATUS, {"n": bytes(32)})
        host.ask(READ, IMAGE, 0, {})
        for request in valid_requests():
            host.machine.handle(request)
            host.machine.reset_if_wanted()
        host.ask(WRITE, OS, 5, {"boot_mode": 1})
    state = host.device.bootloader.running.state
    assert state.keys is not None
    assert state.group_key is not None
    answers = b"|".join(host.answers)
    secrets = [TEXT, PLAN.content_key, state.keys.identity_private, state.keys.agreement_private]
    for secret in (*secrets, state.group_key.agreement_private):
        assert not [piece for piece in pieces_of(secret) if piece in answers]


def test_the_only_hash_of_an_image_is_over_what_was_uploaded() -> None:
    """Not over plaintext, whose guess it would confirm; and nothing asks for a range."""
    host = Listener(decode_device(encode_device(activated_device(BOTH_INJECTED))))
    host.upload(PACKAGE)
    (image,) = host.ask(READ, IMAGE, 0, {})["images"]
    assert image["hash"] == hashlib.sha256(PACKAGE[:-144]).digest()
    plaintext_digests = [hashlib.sha256(part).digest() for part in (TEXT, PACKAGE[:1024] + TEXT, TEXT[:4096])]
    assert not [digest for digest in plaintext_digests if digest in b"".join(host.answers)]
