"""The roots of two versions of a trust bundle, found by the key store on the tokens of a site, and asked to sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.output import say
from pki.errors import ConfigurationError, InputRefused, PolicyViolation
from pki.roles import Role
from pki.values import PublicKey
from signer.trust_bundles.encoding import decode_bundle
from signer.trust_bundles.signing import add_signature, signature_status

if TYPE_CHECKING:
    from cli.context import SigningKeys
    from signer.authority.model import Site
    from signer.store.key_store import KeyStore


@dataclass(frozen=True, slots=True)
class Root:
    """A root of one of the two versions, or of both. `tokens` are (serial, label) of those that hold it."""

    label: str
    public_key: PublicKey
    tokens: tuple[tuple[str, str], ...]


def roots_of_both(store: KeyStore, previous: bytes, successor: bytes) -> list[Root]:
    """Every root of the two versions that the key store knows, by label."""
    by_key = {record.public_key: record for record in store.keys(role=Role.ROOT)}
    wanted = {root for data in (previous, successor) for root in decode_bundle(data)[0].roots}
    records = sorted((by_key[key] for key in wanted if key in by_key), key=lambda record: record.label)
    return [
        Root(record.label, record.public_key, tuple(token.identity for token in record.tokens))
        for record in records
        if record.public_key is not None
    ]


def sign_successor(
    data: bytes, previous: bytes, roots: Sequence[Root], keys: SigningKeys, site: Site, wanted: Sequence[str] | None
) -> tuple[bytes, list[str]]:
    """Let each root sign that is at hand and has not signed yet, or those on the wanted tokens.

    Returns the bundle and the labels of who signed now; who did not is named on stderr. Raises InputRefused for a
    wanted token that holds no root, or one that has signed already, and what signing raises.
    """
    from signer.tokens.errors import TokenNotFound

    status = signature_status(data, previous)
    signed = {*status.own_signers, *status.previous_signers}
    signed_now = []
    for root in _chosen(roots, site, wanted):
        if root.public_key in signed and wanted is None:
            continue
        try:
            key, _ = keys.key_of_store(root.label, Role.ROOT, _product_of(root.label))
        except (TokenNotFound, ConfigurationError, PolicyViolation) as error:
            if wanted is not None:
                raise
            say(f"root {root.label} did not sign: {error}")
            continue
        data = add_signature(data, key, previous)
        signed_now.append(root.label)
    return data, signed_now


def _chosen(roots: Sequence[Root], site: Site, wanted: Sequence[str] | None) -> list[Root]:
    if wanted is None:
        return list(roots)
    chosen = []
    for token in wanted:
        held = [root for root in roots if _holds(site, token, root)]
        if not held:
            raise InputRefused(f"token {token!r} holds no root of either version, as far as the key store knows")
        chosen += held
    return chosen


def _holds(site: Site, token: str, root: Root) -> bool:
    from cli.context import pinned_uri

    uri = pinned_uri(site, token)
    return any(uri.serial == serial and uri.token in (None, label) for serial, label in root.tokens)


def _product_of(label: str) -> str | None:
    from pki.key_specs import parse_key_label

    return parse_key_label(label).product
