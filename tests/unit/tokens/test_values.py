"""Key references, module profiles as JSON, module paths, and the function list: the parts that need no token."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import mmap
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import ConfigurationError
from signer.tokens import ModuleConfig, load_module, module_of_uri, parse_pkcs11_uri
from signer.tokens.errors import ModuleError
from signer.tokens.function_list import FUNCTION_NAMES, _is_writable, _make_writable
from signer.tokens.module_paths import find_module
from signer.tokens.profiles import ModuleProfile, PaddedWrap, profile_from_json, profile_to_json
from signer.tokens.values import KeyRef

names = st.frozensets(st.text(alphabet="ABC_", max_size=8), max_size=3)
profiles = st.builds(
    ModuleProfile,
    identity=st.text(max_size=40),
    padded_wrap=st.sampled_from(PaddedWrap),
    dropped_public=names,
    dropped_private=names,
    dropped_secret=names,
    **{
        field.name: st.booleans()
        for field in fields(ModuleProfile)
        if field.name not in ("identity", "padded_wrap") and not field.name.startswith("dropped_")
    },
)


@given(profiles)
def test_a_profile_survives_its_json(profile: ModuleProfile) -> None:
    assert profile_from_json(profile_to_json(profile)) == profile


@given(profiles, st.data())
def test_a_profile_with_a_field_more_or_less_or_wrong_is_refused(profile: ModuleProfile, data: st.DataObject) -> None:
    values = json.loads(profile_to_json(profile))
    name = data.draw(st.sampled_from(sorted(values)))
    without = {key: value for key, value in values.items() if key != name}
    for damaged in (without, values | {"more": True}, values | {name: 7}, values | {name: None}, [values]):
        with pytest.raises(ConfigurationError, match="module profile"):
            profile_from_json(json.dumps(damaged))
    doubled = profile_to_json(profile).replace("{", '{"random": true, ', 1)
    with pytest.raises(ConfigurationError, match="given twice"):
        profile_from_json(doubled)


def test_a_key_is_named_by_something() -> None:
    for label, cka_id in ((None, None), ("", None), ("x" * 256, None), (None, b""), (None, b"x" * 65)):
        with pytest.raises(ConfigurationError):
            KeyRef(label, cka_id)
    uri = parse_pkcs11_uri("pkcs11:object=sr%3Aroot;id=%01%02;type=private")
    assert KeyRef.from_uri(uri) == KeyRef("sr:root", b"\x01\x02")
    assert str(KeyRef.from_uri(uri)) == "'sr:root' id 0102"
    for text in ("pkcs11:token=a", "pkcs11:object=a;type=cert"):
        with pytest.raises(ConfigurationError):
            KeyRef.from_uri(parse_pkcs11_uri(text))


def test_modules_by_name() -> None:
    assert Path(find_module("softhsm2")).name == "libsofthsm2.so"
    assert Path(find_module("softokn3")).name == "libsoftokn3.so"
    for name in ("", "../softhsm2", "a/b", ".hidden", "x" * 65):
        with pytest.raises(ConfigurationError, match="not a module name"):
            find_module(name)
    with pytest.raises(ModuleError, match="not installed"):
        find_module("no-such-module")


def test_the_module_of_a_uri() -> None:
    by_path = parse_pkcs11_uri("pkcs11:serial=1?module-path=/opt/hsm.so&strongroom-init-args=configdir%3D'x'")
    assert module_of_uri(by_path) == ModuleConfig("/opt/hsm.so", "configdir='x'")
    assert module_of_uri(parse_pkcs11_uri("pkcs11:?module-name=softhsm2")).path == find_module("softhsm2")
    with pytest.raises(ConfigurationError, match="names no module"):
        module_of_uri(parse_pkcs11_uri("pkcs11:serial=1"))


def test_files_that_are_no_modules(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("not a library")
    other_library = ctypes.util.find_library("c") and next(
        path for path in Path("/usr/lib").glob("*/libnss3.so") if path.is_file()
    )
    for path, reason in (
        (tmp_path / "none.so", "does not exist"),
        (tmp_path, "does not exist"),
        (text, "cannot be loaded"),
        (other_library, "no C_GetFunctionList"),
    ):
        with pytest.raises(ModuleError, match=reason) as failure:
            load_module(ModuleConfig(str(path)))
        assert "\n" not in str(failure.value)


def test_the_function_list_has_the_order_of_the_standard() -> None:
    """Positions of pkcs11f.h, v2.40, at the ends and where we interpose."""
    assert len(FUNCTION_NAMES) == len(set(FUNCTION_NAMES)) == 68
    positions = {
        0: "C_Initialize",
        9: "C_InitToken",
        10: "C_InitPIN",
        18: "C_Login",
        43: "C_Sign",
        64: "C_GenerateRandom",
    }
    assert {index: FUNCTION_NAMES[index] for index in positions} == positions
    assert FUNCTION_NAMES[-1] == "C_WaitForSlotEvent"


def test_a_read_only_page_is_made_writable() -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    mprotect = ctypes.CDLL(None).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert mprotect(address, mmap.PAGESIZE, mmap.PROT_READ) == 0
    assert not _is_writable(address + 100, 8)
    _make_writable(address + 100, 8)
    assert _is_writable(address + 100, 8)
    ctypes.c_char.from_address(address + 100).value = b"x"
    assert page[100] == ord("x")


def test_importing_the_layer_is_cheap() -> None:
    code = (
        "import sys, signer.tokens\n"
        "heavy = {'pkcs11', 'cryptography', 'asn1crypto', 'sqlalchemy', 'subprocess', 'multiprocessing', 'ctypes'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
