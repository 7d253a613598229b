"""Faults put into a module's function list, which python-pkcs11 and we both call through."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from signer.tokens.module import Module

ULONG = ctypes.c_ulong
POINTER = ctypes.c_void_p

# Argument types of the functions that tests interpose (PKCS#11 v2.40 base, chapter 5).
SIGNATURES: dict[str, tuple[type, ...]] = {
    "C_CloseSession": (ULONG,),
    "C_CopyObject": (ULONG, ULONG, POINTER, ULONG, POINTER),
    "C_CreateObject": (ULONG, POINTER, ULONG, POINTER),
    "C_FindObjectsInit": (ULONG, POINTER, ULONG),
    "C_GenerateKey": (ULONG, POINTER, POINTER, ULONG, POINTER),
    "C_GenerateKeyPair": (ULONG, POINTER, POINTER, ULONG, POINTER, ULONG, POINTER, POINTER),
    "C_GenerateRandom": (ULONG, POINTER, ULONG),
    "C_GetAttributeValue": (ULONG, ULONG, POINTER, ULONG),
    "C_GetTokenInfo": (ULONG, POINTER),
    "C_InitToken": (ULONG, POINTER, ULONG, POINTER),
    "C_Login": (ULONG, ULONG, POINTER, ULONG),
    "C_OpenSession": (ULONG, ULONG, POINTER, POINTER, POINTER),
    "C_SetAttributeValue": (ULONG, ULONG, POINTER, ULONG),
    "C_Sign": (ULONG, POINTER, ULONG, POINTER, POINTER),
    "C_SignInit": (ULONG, POINTER, ULONG),
}

Interposer = Callable[..., int]


@contextmanager
def interposed(module: Module, name: str, make: Callable[[Callable[..., int]], Interposer]) -> Iterator[None]:
    """Replace function `name` by `make(original)` for the length of the block."""
    original = module.functions.original(name, *SIGNATURES[name])
    module.functions.replace(name, make(original), *SIGNATURES[name])
    try:
        yield
    finally:
        module.functions.restore(name)


@contextmanager
def counted(module: Module, name: str) -> Iterator[list[tuple[int, ...]]]:
    """Record the arguments of every call of function `name`."""
    calls: list[tuple[int, ...]] = []

    def make(original: Callable[..., int]) -> Interposer:
        def call(*arguments: int) -> int:
            calls.append(arguments)
            return original(*arguments)

        return call

    with interposed(module, name, make):
        yield calls


@contextmanager
def failing(module: Module, name: str, ckr: int, *, times: int = 1, skip: int = 0) -> Iterator[None]:
    """Return `ckr` instead of calling function `name`, `times` times after `skip` ordinary calls."""
    count = 0

    def make(original: Callable[..., int]) -> Interposer:
        def call(*arguments: int) -> int:
            nonlocal count
            count += 1
            return ckr if skip < count <= skip + times else original(*arguments)

        return call

    with interposed(module, name, make):
        yield


@contextmanager
def changed_signatures(module: Module, change: Callable[[ctypes.Array[ctypes.c_ubyte]], int]) -> Iterator[None]:
    """Let `change` work on the signature buffer after C_Sign; it returns the length to report."""

    def make(original: Callable[..., int]) -> Interposer:
        def call(session: int, data: int, data_length: int, signature: int | None, length: int) -> int:
            ckr = original(session, data, data_length, signature, length)
            if ckr == 0 and signature is not None:
                reported = ULONG.from_address(length)
                buffer = (ctypes.c_ubyte * reported.value).from_address(signature)
                reported.value = change(buffer)
            return ckr

        return call

    with interposed(module, "C_Sign", make):
        yield
