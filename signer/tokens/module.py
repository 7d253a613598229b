"""Loading a PKCS#11 module, once per process, initialised with locking and with the arguments that it needs.

python-pkcs11 calls C_Initialize(NULL): no locking, and NSS softokn refuses. So the C_Initialize slot of the module's
function list is replaced before python-pkcs11 loads it (docs/adr/0011). All calls into a module go through one lock.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from signer.tokens.errors import ForkedProcess, ModuleError, TokenBusy
from signer.tokens.function_list import FunctionList
from signer.tokens.return_codes import error_from_exception
from signer.tokens.values import ModuleConfig, TokenInfo

if TYPE_CHECKING:
    import pkcs11
    from pkcs11._pkcs11 import lib

    from signer.tokens.open_session import OpenSession
    from signer.tokens.pin_sources import PinSource
    from signer.tokens.profiles import ModuleProfile

_CKF_OS_LOCKING_OK = 0x2
_CKR_CANT_LOCK = 0x0A

MAX_ATTEMPTS = 8
"""Attempts at what fails when several processes open one SoftHSM at once (docs/adr/0012); 0.13 seconds in all."""


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS (PKCS#11 v2.40 base, section 3.7).

    Its last field, pReserved, is the parameter string for NSS, which has its own pReserved after it; for every other
    module it must be NULL.
    """

    _fields_ = (
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("parameters", ctypes.c_char_p),
        ("reserved", ctypes.c_void_p),
    )


class Module:
    """One loaded and initialised PKCS#11 module. Made by `load_module` only."""

    def __init__(self, path: str, config: ModuleConfig, functions: FunctionList) -> None:
        self.path = path
        self.config = config
        self.functions = functions
        self.lock = threading.RLock()
        self.sessions: set[OpenSession] = set()
        self.profile: ModuleProfile | None = None
        """What probing found, once somebody needed it; `signer.tokens.profile_cache` keeps it between processes."""
        self.refused_pins: list[tuple[str | None, PinSource]] = []
        """Token serial and repeatable source of every PIN that was refused in this process: not tried again."""
        self._process_id = os.getpid()
        functions.replace("C_Initialize", self._initialize, ctypes.c_void_p)
        self.library = self._load_library()
        self._adopt_list_of_library()

    def _initialize(self, _arguments: object) -> int:
        """Stands in the C_Initialize slot."""
        original = self.functions.original("C_Initialize", ctypes.c_void_p)
        text = self.config.init_arguments
        arguments = _InitializeArguments(
            flags=_CKF_OS_LOCKING_OK, parameters=text.encode("utf-8") if text is not None else None
        )
        ckr = original(ctypes.addressof(arguments))
        if ckr == _CKR_CANT_LOCK:
            # Sound without the module's locking too: every call goes through our lock.
            arguments.flags = 0
            ckr = original(ctypes.addressof(arguments))
        return ckr

    def _load_library(self) -> lib:
        import pkcs11

        for attempt in range(MAX_ATTEMPTS):
            try:
                return pkcs11.lib(self.path)
            except pkcs11.PKCS11Error as error:
                failure = error
            pause_before_retry(attempt)
        raise self._initialisation_failed(failure)

    def _adopt_list_of_library(self) -> None:
        """Use the list that python-pkcs11 uses, where a module (p11-kit's client) gives every caller another one."""
        functions = FunctionList.of_library(self.library)
        if functions.address == self.functions.address:
            return
        self.functions = functions
        functions.replace("C_Initialize", self._initialize, ctypes.c_void_p)
        self.reinitialize()

    def check_process(self) -> None:
        """Raises ForkedProcess in a child made by fork: it shares its parent's sessions and locks."""
        if os.getpid() != self._process_id:
            raise ForkedProcess(
                "a PKCS#11 module cannot be used in a forked child; start workers with signer.tokens.worker_context()"
            )

    def reinitialize(self, init_arguments: str | None = None, *, apart_from: OpenSession | None = None) -> None:
        """Finalise and initialise again, so that the module sees tokens made or removed since.

        Raises TokenBusy while a session (apart from the one given, which is being opened) is open, since finalising
        would close it.
        """
        import pkcs11

        self.check_process()
        with self.lock:
            if self.sessions - {apart_from}:
                raise TokenBusy("a session is open on this module; close it first")
            if init_arguments is not None:
                self.config = ModuleConfig(self.config.path, init_arguments)
            if self.library.initialized:
                with suppress(pkcs11.PKCS11Error):
                    self.library.finalize()
            self._ensure_initialized()

    def _ensure_initialized(self) -> None:
        import pkcs11

        try:
            if not self.library.initialized:
                self.library.initialize()
        except pkcs11.PKCS11Error as error:
            raise self._initialisation_failed(error) from None

    def _initialisation_failed(self, error: Exception) -> ModuleError:
        reason = error_from_exception(error, f"initialising PKCS#11 module {self.path}")
        hint = "check the module's own configuration and files (for SoftHSM: SOFTHSM2_CONF and its token folder)"
        return ModuleError(f"{reason}; {hint}", reason.ckr)

    def slots_with_tokens(self) -> list[pkcs11.Token]:
        """Every token of the module, initialised or not; raises pkcs11.PKCS11Error, ModuleError. The caller locks."""
        import pkcs11

        self._ensure_initialized()
        tokens = []
        for slot in self.library.get_slots():
            try:
                tokens.append(slot.get_token())
            except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                continue
        return tokens

    def tokens(self) -> tuple[TokenInfo, ...]:
        """Every token of the module, in slot order."""
        import pkcs11

        self.check_process()
        with self.lock:
            for attempt in range(MAX_ATTEMPTS):
                try:
                    return tuple(token_info(token) for token in self.slots_with_tokens())
                except pkcs11.PKCS11Error as error:
                    failure = error
                pause_before_retry(attempt)
        raise error_from_exception(failure, "listing the module's tokens")

    @property
    def identity(self) -> str:
        """One line that changes when the installed module does: makers, version, file, its size and time of change."""
        status = Path(self.path).stat()
        major, minor = self.library.library_version
        return (
            f"{self.library.manufacturer_id}|{self.library.library_description}|{major}.{minor}"
            f"|{self.path}|{status.st_size}|{status.st_mtime_ns}"
        )


_function_lists: dict[str, FunctionList] = {}
_modules: dict[str, Module] = {}
_registry_lock = threading.Lock()


def load_module(config: ModuleConfig) -> Module:
    """The module of `config`, loaded and initialised; the same object for the same file within a process.

    Other initialisation arguments than before initialise it anew, which needs all its sessions closed (else TokenBusy).
    Raises ModuleError when the file is no usable module.
    """
    path = os.path.realpath(config.path)
    if not os.path.isfile(path):  # noqa: PTH113 (pathlib is not needed for the rest)
        raise ModuleError(f"PKCS#11 module {config.path} does not exist; install it, or correct its path")
    with _registry_lock:
        module = _modules.get(path)
        if module is None:
            if path not in _function_lists:
                _function_lists[path] = FunctionList.of_file(path)
            module = Module(path, config, _function_lists[path])
            _modules[path] = module
            return module
    module.check_process()
    if config.init_arguments != module.config.init_arguments:
        module.reinitialize(config.init_arguments)
    return module


def pause_before_retry(attempt: int) -> None:
    """Wait 1, 2, 4 … 64 milliseconds after failed attempt number `attempt`, counted from 0."""
    time.sleep(0.001 * 2 ** min(attempt, 6))


def token_info(token: pkcs11.Token) -> TokenInfo:
    """Copy out what a token said when it was listed."""
    from pkcs11.constants import TokenFlag

    flags = token.flags
    return TokenInfo(
        label=token.label,
        serial=token.serial.rstrip(b"\0 ").decode("utf-8", errors="backslashreplace"),
        manufacturer=token.manufacturer_id,
        model=token.model,
        slot_id=token.slot.slot_id,
        slot_description=token.slot.slot_description,
        slot_manufacturer=token.slot.manufacturer_id,
        initialised=bool(flags & TokenFlag.TOKEN_INITIALIZED),
        user_pin_set=bool(flags & TokenFlag.USER_PIN_INITIALIZED),
        login_required=bool(flags & TokenFlag.LOGIN_REQUIRED),
        protected_authentication_path=bool(flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH),
        write_protected=bool(flags & TokenFlag.WRITE_PROTECTED),
        user_pin_count_low=bool(flags & TokenFlag.USER_PIN_COUNT_LOW),
        user_pin_final_try=bool(flags & TokenFlag.USER_PIN_FINAL_TRY),
        user_pin_locked=bool(flags & TokenFlag.USER_PIN_LOCKED),
    )
