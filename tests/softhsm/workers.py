"""What the tests run in processes of their own, started by spawn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pki.key_specs import KEY_SPECS
from pki.roles import Role
from pki.values import Digest, Scheme
from signer.tokens import KeyRef, PinFile, load_module, module_of_uri, open_token, parse_pkcs11_uri
from tests.softhsm.fault_rig import SIGNATURES

KILLED = 9


def sign_many(uri: str, pin_path: str, label: str, count: int) -> list[bytes]:
    """Open the token, find the key and sign; returns the signatures of the digests of 0, 1, 2 …"""
    with open_token(uri, PinFile(Path(pin_path))) as session:
        handle = session.find(KeyRef(label))
        return [
            handle.sign(Digest.of(index.to_bytes(4, "big")), Scheme.ECDSA_P256_SHA256_RAW).value
            for index in range(count)
        ]


def generate_and_die(uri: str, pin_path: str, label: str, function: str, call_number: int) -> None:
    """Generate a key, and end the process without any clean-up just after call `call_number` of a module function."""
    module = load_module(module_of_uri(parse_pkcs11_uri(uri)))
    with open_token(uri, PinFile(Path(pin_path)), writable=True) as session:
        profile = session.probe_profile(on_token=True)
        original = module.functions.original(function, *SIGNATURES[function])
        count = 0

        def call(*arguments: int) -> int:
            nonlocal count
            count += 1
            ckr = original(*arguments)
            if count == call_number:
                os._exit(KILLED)
            return ckr

        module.functions.replace(function, call, *SIGNATURES[function])
        session.generate(KEY_SPECS[Role.ROOT], label, profile)


def generate_named(uri: str, pin_path: str, label: str) -> str:
    """Generate a key; returns what happened, as the name of the error or 'made'."""
    from signer.tokens import TokenError

    try:
        with open_token(uri, PinFile(Path(pin_path)), writable=True) as session:
            session.generate(KEY_SPECS[Role.ROOT], label)
    except TokenError as error:
        return type(error).__name__
    return "made"


def outcome_in_child(action: Callable[[], object]) -> str:
    """Fork, run the action in the child, and return the name of the error that it met there (or 'nothing')."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            name = "nothing"
        except BaseException as error:  # noqa: BLE001 (the child must not return into pytest)
            name = type(error).__name__
        os.write(write_end, name.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        name = stream.read().decode()
    os.waitpid(child, 0)
    return name
