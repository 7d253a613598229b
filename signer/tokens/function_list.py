"""The function list of a PKCS#11 module (CK_FUNCTION_LIST, PKCS#11 v2.40 base, section 3.6), through ctypes.

python-pkcs11 calls the module through the same list, at every call. So a slot replaced here is replaced for it too:
that is how C_Initialize gets its arguments (docs/adr/0011), and how tests inject faults.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from signer.tokens.errors import ModuleError
from signer.tokens.return_codes import error_from_ckr

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib

# In the order of pkcs11f.h, v2.40.
FUNCTION_NAMES = (
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetFunctionList",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_CloseAllSessions",
    "C_GetSessionInfo",
    "C_GetOperationState",
    "C_SetOperationState",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GetObjectSize",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_EncryptUpdate",
    "C_EncryptFinal",
    "C_DecryptInit",
    "C_Decrypt",
    "C_DecryptUpdate",
    "C_DecryptFinal",
    "C_DigestInit",
    "C_Digest",
    "C_DigestUpdate",
    "C_DigestKey",
    "C_DigestFinal",
    "C_SignInit",
    "C_Sign",
    "C_SignUpdate",
    "C_SignFinal",
    "C_SignRecoverInit",
    "C_SignRecover",
    "C_VerifyInit",
    "C_Verify",
    "C_VerifyUpdate",
    "C_VerifyFinal",
    "C_VerifyRecoverInit",
    "C_VerifyRecover",
    "C_DigestEncryptUpdate",
    "C_DecryptDigestUpdate",
    "C_SignEncryptUpdate",
    "C_DecryptVerifyUpdate",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_SeedRandom",
    "C_GenerateRandom",
    "C_GetFunctionStatus",
    "C_CancelFunction",
    "C_WaitForSlotEvent",
)
_INDEX = {name: index for index, name in enumerate(FUNCTION_NAMES)}
_POINTER_SIZE_BYTES = ctypes.sizeof(ctypes.c_void_p)
# CK_VERSION is two bytes; the pointers after it are aligned.
_FIRST_SLOT_OFFSET = _POINTER_SIZE_BYTES
_PROT_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

CFunction = Callable[..., int]


class FunctionList:
    """The slots of one loaded module. Lives as long as the process; so do the callbacks put into it."""

    def __init__(self, address: int) -> None:
        self.address = address
        self._first_slot_address = address + _FIRST_SLOT_OFFSET
        self._slots = (ctypes.c_void_p * len(FUNCTION_NAMES)).from_address(self._first_slot_address)
        self._originals: dict[str, int] = {}
        self._callbacks: list[object] = []

    @classmethod
    def of_file(cls, path: str) -> FunctionList:
        """Load the module and ask it for its list. Raises ModuleError."""
        try:
            get_function_list = ctypes.CDLL(path).C_GetFunctionList
        except OSError as error:
            raise ModuleError(f"PKCS#11 module {path} cannot be loaded: {error}") from None
        except AttributeError:
            raise ModuleError(f"{path} is not a PKCS#11 module: it has no C_GetFunctionList") from None
        address = ctypes.c_void_p()
        get_function_list.restype = ctypes.c_ulong
        ckr: int = get_function_list(ctypes.byref(address))
        if ckr != 0:
            raise error_from_ckr(ckr, f"loading PKCS#11 module {path}")
        if address.value is None:
            raise ModuleError(f"PKCS#11 module {path} gave no function list")
        return cls(address.value)

    @classmethod
    def of_library(cls, library: lib) -> FunctionList:
        """The list that python-pkcs11 calls through.

        It does not show it, but it is the first field of its object: p11-kit's client gives every caller another list,
        and sessions opened through one are unknown to the other. Raises ModuleError if the layout is not that of 0.10.
        """
        from pkcs11 import _pkcs11

        header_size_bytes = object.__basicsize__
        if _pkcs11.HasFuncList.__basicsize__ != header_size_bytes + 3 * _POINTER_SIZE_BYTES:  # type: ignore[attr-defined]
            raise ModuleError("python-pkcs11 is not the version that this program was made for; install 0.10")
        address = ctypes.c_void_p.from_address(id(library) + header_size_bytes).value
        if address is None:
            raise ModuleError("python-pkcs11 has no function list; was the module unloaded?")
        return cls(address)

    def call(self, name: str, *argument_types: type) -> CFunction:
        """The function now in slot `name`, as a Python callable that releases the interpreter lock while it runs."""
        return ctypes.CFUNCTYPE(ctypes.c_ulong, *argument_types)(self._address(name))

    def original(self, name: str, *argument_types: type) -> CFunction:
        """The module's own function, whatever is in its slot now."""
        address = self._originals.get(name) or self._address(name)
        return ctypes.CFUNCTYPE(ctypes.c_ulong, *argument_types)(address)

    def replace(self, name: str, function: CFunction, *argument_types: type) -> None:
        """Put `function` into slot `name` for every caller in this process, python-pkcs11 included."""
        callback = ctypes.CFUNCTYPE(ctypes.c_ulong, *argument_types)(function)
        self._callbacks.append(callback)
        self._originals.setdefault(name, self._address(name))
        _make_writable(self._first_slot_address, ctypes.sizeof(self._slots))
        self._slots[_INDEX[name]] = ctypes.cast(callback, ctypes.c_void_p).value

    def restore(self, name: str) -> None:
        """Put the module's own function back into slot `name`."""
        self._slots[_INDEX[name]] = self._originals.pop(name, self._address(name))

    def _address(self, name: str) -> int:
        address = self._slots[_INDEX[name]]
        if address is None:
            raise ModuleError(f"the PKCS#11 module has no {name}")
        return int(address)


def _make_writable(address: int, size_bytes: int) -> None:
    """Some modules keep the list in read-only memory: ask the kernel to let this process write its pages."""
    if _is_writable(address, size_bytes):
        return
    start = address - address % mmap.PAGESIZE
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if mprotect(start, address + size_bytes - start, _PROT_READ_WRITE) != 0:
        raise ModuleError("the PKCS#11 module's function list is write-protected; this module cannot be used safely")


def _is_writable(address: int, size_bytes: int) -> bool:
    for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
        span, permissions = line.split(maxsplit=2)[:2]
        start, _, end = span.partition("-")
        if int(start, 16) <= address and address + size_bytes <= int(end, 16):
            return "w" in permissions
    return False
