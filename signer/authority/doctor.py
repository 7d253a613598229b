"""The examination of an authority repository: its files, its site, its key store and its keys, as findings.

What reaches outside (boards, tokens) is handed in; files are read here. Nothing is changed, and no PIN is asked for
unless the surroundings open a token.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from pki.errors import ConfigurationError, PolicyViolation, StrongroomError
from pki.key_audit import Severity
from pki.roles import Role
from signer.authority.development_material import refuse_fake_path
from signer.authority.doctor_keys import examine_keys
from signer.authority.doctor_log import examine_log
from signer.authority.doctor_people import examine_people
from signer.authority.doctor_policies import examine_policies_of
from signer.authority.doctor_rules import Finding, Surroundings, finding
from signer.authority.key_intents import KeyIntents
from signer.authority.model import Environment, PinConfig, Product, Site
from signer.authority.public_key_files import read_public_key
from signer.authority.repository import AuthorityRepository
from signer.custody.intents import CustodyIntents
from signer.tokens import Pkcs11Uri, TokenInfo

_File = TypeVar("_File")


def examine(
    repository: AuthorityRepository, site_name: str | None, outside: Surroundings, now: datetime, *, offline: bool
) -> tuple[Finding, ...]:
    """Everything that is wrong with the repository, seen from one site. `offline` opens no token.

    What depends on a broken file is not examined; examine again when it is mended.
    """
    findings: list[Finding] = []
    environment = _read(findings, "strongroom.toml", lambda: repository.authority.environment)
    if environment is None:
        return tuple(findings)
    people = _read(findings, "people.toml", lambda: repository.people)
    sites = _all_sites(findings, repository)
    products = _all_products(findings, repository)
    findings += _examine_products(repository, products, sites, outside)
    wanted = site_name or repository.authority.default_site
    site = sites.get(wanted)
    if site is None:
        if not any(item.place == f"sites/{wanted}.toml" for item in findings):
            findings.append(finding("DR-01", f"sites/{wanted}.toml", "there is no such site; add it"))
    else:
        findings += _examine_site(repository, environment, site, outside)
    findings += _examine_intents(repository)
    findings += examine_log(repository, now)
    findings += examine_people(repository, people, now)
    findings += examine_policies_of(repository, environment, people)
    findings += examine_keys(products, site, environment, outside, now, offline=offline)
    return tuple(findings)


def _read(findings: list[Finding], place: str, read: Callable[[], _File]) -> _File | None:
    try:
        return read()
    except StrongroomError as error:
        findings.append(finding("DR-01", place, str(error)))
        return None


def _all_sites(findings: list[Finding], repository: AuthorityRepository) -> dict[str, Site]:
    sites = {}
    for name in repository.site_names():
        site = _read(findings, f"sites/{name}.toml", partial(repository.site, name))
        if site is not None:
            sites[name] = site
    return sites


def _all_products(findings: list[Finding], repository: AuthorityRepository) -> list[Product]:
    products = []
    for name in repository.product_names():
        product = _read(findings, f"products/{name}.toml", partial(repository.product, name))
        if product is not None:
            products.append(product)
    return products


def _examine_products(
    repository: AuthorityRepository, products: list[Product], sites: dict[str, Site], outside: Surroundings
) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for product in products:
        place = f"products/{product.name}.toml"
        if product.id in seen:
            yield finding("DR-02", place, f"its id is that of {seen[product.id]!r}; an id is for one product, for life")
        seen.setdefault(product.id, product.name)
        try:
            outside.check_board(product.board)
        except ConfigurationError as error:
            yield finding("DR-03", place, str(error))
        if len(sites) == len(repository.site_names()):
            yield from _examine_tokens_named(place, product, sites)
        yield from _examine_roots(place, product, repository.authority.environment)
        if product.encryption.group_public_key is not None:
            yield from _examine_group_key(repository, place, product.encryption.group_public_key)


def _examine_tokens_named(place: str, product: Product, sites: dict[str, Site]) -> Iterator[Finding]:
    known = {token for site in sites.values() for token in site.tokens}
    named = {key.token for role in Role for key in product.keys.of_role(role)}
    for token in sorted(named - known):
        yield finding(
            "DR-04", place, f"no site has a token {token!r}; `strongroom token init {token} --write` adds one"
        )


def _examine_roots(place: str, product: Product, environment: Environment) -> Iterator[Finding]:
    tokens = {key.token for key in product.keys.root}
    if len(tokens) < len(product.keys.root):
        severity = Severity.ERROR if environment is Environment.PRODUCTION else None
        text = f"{len(product.keys.root)} root keys on {len(tokens)} tokens: whoever has one token has several votes"
        yield finding("DR-20", place, f"{text}; put each on a token of its own", severity)


def _examine_group_key(repository: AuthorityRepository, place: str, relative: str) -> Iterator[Finding]:
    path = repository.resolve(relative)
    try:
        read_public_key(path)
        refuse_fake_path(repository.authority.environment, path)
    except ConfigurationError as error:
        yield finding("DR-21", place, str(error))
    except PolicyViolation as error:
        yield finding("DR-18", place, str(error))


def _examine_intents(repository: AuthorityRepository) -> Iterator[Finding]:
    try:
        for intent in KeyIntents(repository.key_intents_path).all():
            begun = f"key {intent.label} on token {intent.token_label!r}, begun {intent.begun_at}, is not done"
            yield finding("DR-19", "store/intents", f"{begun}; run `strongroom key generate` again as then")
        for act in CustodyIntents(repository.key_intents_path).all():
            begun = f"to {act.act} key {act.label} on token {act.token[1]!r}, begun {act.begun_at}, is not done"
            yield finding("DR-19", "store/intents", f"{begun}; resume the ceremony that began it")
    except ConfigurationError as error:
        yield finding("DR-01", "store/intents", str(error))


def _examine_site(
    repository: AuthorityRepository, environment: Environment, site: Site, outside: Surroundings
) -> Iterator[Finding]:
    place = f"sites/{site.name}.toml"
    tokens: dict[str, tuple[TokenInfo, ...]] = {}
    for module in sorted(site.modules):
        try:
            tokens[module] = outside.tokens_of_module(module)
        except StrongroomError as error:
            yield finding("DR-05", place, f"module {module!r}: {error}")
    names: dict[tuple[str, str | None, str | None], str] = {}
    for name, token in sorted(site.tokens.items()):
        yield from _examine_pin(repository, environment, f"{place}, token {name!r}", token.pin)
        try:
            uri = outside.pinned_uri(name)
        except ConfigurationError as error:
            yield finding("DR-06", place, str(error))
            continue
        identity = (token.module, uri.serial, uri.token)
        if identity in names:
            yield finding("DR-08", place, f"{names[identity]!r} and {name!r} are one token; keep one name")
        names.setdefault(identity, name)
        yield from _examine_presence(place, name, uri, tokens.get(token.module))


def _examine_presence(place: str, name: str, uri: Pkcs11Uri, there: tuple[TokenInfo, ...] | None) -> Iterator[Finding]:
    if there is None:
        return
    found = [info for info in there if info.serial == uri.serial and uri.token in (None, info.label)]
    if not found:
        yield finding(
            "DR-07", place, f"token {name!r} (serial {uri.serial}) is not there; connect it, or remove its entry"
        )
    elif len(found) > 1:
        yield finding(
            "DR-07", place, f"token {name!r}: {len(found)} tokens have serial {uri.serial}; add token= to the URI"
        )
    elif not found[0].user_pin_set:
        yield finding("DR-07", place, f"token {name!r} has no user PIN; initialise it with `strongroom token init`")


def _examine_pin(
    repository: AuthorityRepository, environment: Environment, place: str, pin: PinConfig
) -> Iterator[Finding]:
    if pin.path is not None:
        path = repository.resolve(pin.path)
        try:
            refuse_fake_path(environment, path)
            _check_pin_file(path)
        except PolicyViolation as error:
            yield finding("DR-18", place, str(error))
        except StrongroomError as error:
            yield finding("DR-09", place, str(error))
    if pin.argv is not None and shutil.which(pin.argv[0]) is None:
        yield finding("DR-09", place, f"program {pin.argv[0]} is not there, or may not be run")


def _check_pin_file(path: Path) -> None:
    """What would be found at the next use: read, and wiped at once."""
    from signer.tokens import PinFile

    PinFile(path).read().wipe()
