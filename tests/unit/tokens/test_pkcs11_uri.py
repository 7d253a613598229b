"""PKCS#11 URIs (RFC 7512): examples of the RFC, everything that is refused, and round trips of arbitrary values."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import ConfigurationError
from signer.tokens.pkcs11_uri import MAX_URI_LENGTH, OBJECT_TYPES, Pkcs11Uri, format_pkcs11_uri, parse_pkcs11_uri

# Section 3 of the RFC, those without pin-value and slot-id.
RFC_EXAMPLES = {
    "pkcs11:": Pkcs11Uri(),
    "pkcs11:object=my-pubkey;type=public": Pkcs11Uri(object="my-pubkey", type="public"),
    "pkcs11:object=my-key;type=private?pin-source=file:/etc/token": Pkcs11Uri(
        object="my-key", type="private", pin_source="file:/etc/token"
    ),
    "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;"
    "manufacturer=Snake%20Oil,%20Inc.;"
    "model=1.0;"
    "object=my-certificate;"
    "type=cert;"
    "id=%69%95%3E%5C%F4%BD%EC%91;"
    "serial="
    "?pin-source=file:/etc/token_pin": None,
    "pkcs11:object=my-sign-key;type=private?module-name=mypkcs11": Pkcs11Uri(
        object="my-sign-key", type="private", module_name="mypkcs11"
    ),
    "pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1": Pkcs11Uri(
        object="my-sign-key", type="private", module_path="/mnt/libmypkcs11.so.1"
    ),
    "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-source=|/usr/lib/pinomatic": (
        Pkcs11Uri(
            token="Software PKCS#11 softtoken",
            manufacturer="Snake Oil, Inc.",
            pin_source="|/usr/lib/pinomatic",
        )
    ),
    "pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert": Pkcs11Uri(
        token="A name with a substring %;", object="my-certificate", type="cert"
    ),
    "pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert": Pkcs11Uri(
        token="Name with a small A with acute: á", object="my-certificate", type="cert"
    ),
    "PKCS11:library-manufacturer=Snake%20Oil;library-version=2.40": Pkcs11Uri(
        library_manufacturer="Snake Oil", library_version="2.40"
    ),
}


@pytest.mark.parametrize(("text", "expected"), [(text, uri) for text, uri in RFC_EXAMPLES.items() if uri is not None])
def test_examples_of_the_rfc(text: str, expected: Pkcs11Uri) -> None:
    assert parse_pkcs11_uri(text) == expected
    assert parse_pkcs11_uri(format_pkcs11_uri(expected)) == expected


def test_an_empty_attribute_of_the_rfc_is_refused_since_it_names_nothing() -> None:
    (text,) = [text for text, uri in RFC_EXAMPLES.items() if uri is None]
    with pytest.raises(ConfigurationError, match="serial is empty"):
        parse_pkcs11_uri(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with pkcs11:"),
        ("http:token=a", "begins with pkcs11:"),
        ("pkcs11", "begins with pkcs11:"),
        (" pkcs11:token=a", "begins with pkcs11:"),
        ("pkcs11:token=a;slot-id=3", "slot numbers change"),
        ("pkcs11:token=a?pin-value=7391", "pin-source=file"),
        ("pkcs11:token=a?pin-value=7391&pin-source=file:/pin", "pin-source=file"),
        ("pkcs11:token=a;pin-value=7391", "pin-source=file"),
        ("pkcs11:token=a;token=b", "given twice"),
        ("pkcs11:?module-name=a&module-name=a", "given twice"),
        ("pkcs11:?module-name=a&module-path=/b", "not both"),
        ("pkcs11:colour=blue", "unknown attribute 'colour'"),
        ("pkcs11:Token=a", "unknown attribute 'Token'"),
        ("pkcs11:x-vendor=1", "unknown attribute"),
        ("pkcs11:token=a?x-vendor=1", "unknown attribute"),
        ("pkcs11:token=a;", "unknown attribute ''"),
        ("pkcs11:;token=a", "unknown attribute ''"),
        ("pkcs11:token=a;;serial=b", "unknown attribute ''"),
        ("pkcs11:token=a?", "question mark"),
        ("pkcs11:token=a?module-name=b&", "unknown attribute ''"),
        ("pkcs11:token", "has no value"),
        ("pkcs11:token=", "is empty"),
        ("pkcs11:module-name=a", "after the question mark"),
        ("pkcs11:?token=a", "before the question mark"),
        ("pkcs11:token=a b", "%XX"),
        ("pkcs11:token=a%2", "%XX"),
        ("pkcs11:token=a%zz", "%XX"),
        ("pkcs11:token=á", "%XX"),
        ("pkcs11:token=a/b", "%XX"),
        ("pkcs11:token=a#b", "%XX"),
        ('pkcs11:token="a"', "%XX"),
        ("pkcs11:token=a\n", "%XX"),
        ("pkcs11:token=%FF", "not UTF-8"),
        ("pkcs11:token=%C3", "not UTF-8"),
        ("pkcs11:token=%ED%A0%80", "not UTF-8"),
        ("pkcs11:token=a%00", "control character"),
        ("pkcs11:token=a%0A", "control character"),
        ("pkcs11:token=a%7F", "control character"),
        ("pkcs11:token=" + "a" * 256, "longer than 255"),
        ("pkcs11:serial=" + "a" * 256, "longer than 255"),
        ("pkcs11:id=" + "%00" * 65, "longer than 64"),
        ("pkcs11:type=key", "type is one of"),
        ("pkcs11:library-version=2.", "major.minor"),
        ("pkcs11:library-version=a", "major.minor"),
        ("pkcs11:library-version=1.2.3", "major.minor"),
        ("pkcs11:token=" + "a" * MAX_URI_LENGTH, "at most 2048"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as failure:
        parse_pkcs11_uri(text)
    assert "\n" not in str(failure.value)
    assert "7391" not in str(failure.value)


def printable_text(max_bytes: int) -> st.SearchStrategy[str]:
    return st.text(min_size=1, max_size=max_bytes).filter(
        lambda text: text.isprintable() and len(text.encode("utf-8", "surrogatepass")) <= max_bytes
    )


uris = st.builds(
    Pkcs11Uri,
    token=st.none() | printable_text(32),
    manufacturer=st.none() | printable_text(32),
    serial=st.none() | printable_text(16),
    model=st.none() | printable_text(16),
    library_version=st.none() | st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,3})?\Z"),
    slot_description=st.none() | printable_text(64),
    object=st.none() | printable_text(255),
    type=st.none() | st.sampled_from(OBJECT_TYPES),
    id=st.none() | st.binary(min_size=1, max_size=64),
    pin_source=st.none() | printable_text(100),
    module_path=st.none() | printable_text(100),
    strongroom_init_args=st.none() | printable_text(100),
)


@given(uris)
def test_what_is_formatted_is_parsed_back(uri: Pkcs11Uri) -> None:
    text = format_pkcs11_uri(uri)
    assert text.isascii()
    if len(text) <= MAX_URI_LENGTH:
        assert parse_pkcs11_uri(text) == uri
        assert format_pkcs11_uri(parse_pkcs11_uri(text)) == text


@given(printable_text(32), st.binary(min_size=1, max_size=64))
def test_escaping_agrees_with_the_standard_library(label: str, cka_id: bytes) -> None:
    text = format_pkcs11_uri(Pkcs11Uri(token=label, id=cka_id))
    token_part, id_part = text.removeprefix("pkcs11:").split(";")
    assert token_part == "token=" + quote(label, safe="")
    assert unquote_to_bytes(id_part.removeprefix("id=")) == cka_id
    assert parse_pkcs11_uri("pkcs11:token=" + quote(label, safe="!$'()*+,:@[]=&")).token == label


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        parse_pkcs11_uri("pkcs11:" + text)
    except ConfigurationError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


@pytest.mark.parametrize(
    "values", [{"token": ""}, {"id": b""}, {"serial": "a" * 256}, {"type": "x"}, {"object": "a\n"}]
)
def test_a_value_is_checked_however_it_is_made(values: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Pkcs11Uri(**values)  # type: ignore[arg-type]
