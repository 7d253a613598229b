"""A rehearsal's world: a copy of the authority in a temporary folder, on throw-away SoftHSM tokens with stand-in keys.

What the ceremony finds is there under the same names: tokens, recorded keys with their labels and states, and reviewed
files that name keys (a trust bundle to follow, a prepared package), rewritten for the stand-ins.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ceremonies.foresight import tokens_used
from cli.ceremony_files import LoadedCeremony
from cli.ceremony_shares import MemoryShares
from cli.ceremony_stand_ins import RootSigner, SoftwareKey, StandIns, stand_in_file
from cli.context import now, pinned_uri
from pki.errors import InputRefused, PolicyViolation
from pki.key_specs import parse_key_label
from pki.key_states import KeyState
from pki.roles import Role
from signer.authority.model import PinConfig
from signer.authority.repository import AUTHORITY_FILE, AuthorityRepository
from signer.authority.site_file import TokenEntry
from signer.authority.toml_files import toml_string
from signer.store.values import Change, KeyRecord, NewKey, TokenRecord

if TYPE_CHECKING:
    from pki.values import PublicKey
    from signer.authority.model import Site
    from signer.signing_key import SigningKey
    from signer.store.key_store import KeyStore
    from signer.tokens.module import Module
    from signer.tokens.session import Session

_STAND_INS_MAX = 200
_LOST = "lost-in-rehearsal"
"""The token of a key that is to be restored: in a rehearsal as in earnest, it is not among those that are used."""


@contextmanager
def rehearsal_world(
    ceremony: LoadedCeremony, records: tuple[KeyRecord, ...]
) -> Iterator[tuple[AuthorityRepository, MemoryShares]]:
    """The copy of the authority, its tokens ready, and its custodians. Everything is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-rehearsal-", dir=_memory()))
    try:
        with _own_softhsm(folder) as module:
            root = folder / "authority"
            _copy_files(ceremony, root)
            site = _make_tokens(module, ceremony, root)
            _make_key_store(root)
            copy = AuthorityRepository(root)
            wanted = [record for record in records if _may_be_met(record, ceremony)]
            made = _make_stand_ins(copy, module, ceremony, site, wanted)
            backups = _backup_files(ceremony)
            with _roots(copy, site, made) as roots:
                for path in ceremony.script.files:
                    if path in backups:
                        continue
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).write_bytes(stand_in_file(ceremony.files[path], made, roots))
            yield copy, made.shares
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """A folder in memory, where there is one: nothing of a rehearsal then gets to a disk. None: the usual place."""
    shared_memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    return shared_memory if os.access(shared_memory, os.W_OK) else None


@contextmanager
def _own_softhsm(folder: Path) -> Iterator[Module]:
    """SoftHSM with a token folder of its own, and again as it was afterwards."""
    from signer.tokens import ModuleConfig, find_module, load_module

    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
    )
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    module = load_module(ModuleConfig(find_module("softhsm2")))
    try:
        module.reinitialize()
        yield module
    finally:
        for session in list(module.sessions):
            session.close()
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before
            module.reinitialize()


def _copy_files(ceremony: LoadedCeremony, root: Path) -> None:
    for path, content in ceremony.files.items():
        if path in ceremony.script.files:
            continue
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (root / AUTHORITY_FILE).write_text(
        'format = 1\nname = "Rehearsal"\nenvironment = "development"\n'
        f"default_site = {toml_string(ceremony.site.name)}\n",
        encoding="utf-8",
    )


def _make_tokens(module: Module, ceremony: LoadedCeremony, root: Path) -> Site:
    """Every token of the site that the script uses, and a site file that names them. PINs are drawn here."""
    from signer.tokens import PinFile, init_token

    pins = root / "fake"
    pins.mkdir(mode=0o700)
    lines = ["format = 1", f"name = {toml_string(ceremony.site.name)}", "[modules]"]
    lines += [f"softhsm = {{ path = {toml_string(module.path)} }}", ""]
    for name in (*tokens_used(ceremony.script), *([_LOST] if _backup_files(ceremony) else [])):
        pin = _write_pin(pins / f"{name}.pin")
        info = init_token(module, name, PinFile(_write_pin(pins / f"{name}.so-pin")), PinFile(pin))
        uri = f"pkcs11:token={name};serial={info.serial}"
        entry = TokenEntry(name, "softhsm", uri, PinConfig(source="file", path=f"fake/{name}.pin"))
        lines.append(entry.to_toml())
    path = root / "sites" / f"{ceremony.site.name}.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return AuthorityRepository(root).site(ceremony.site.name)


def _write_pin(path: Path) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(8))
    return path


def _make_key_store(root: Path) -> None:
    from signer.store.maintenance import create_key_store

    store = AuthorityRepository(root).key_store_path
    store.parent.mkdir(mode=0o700)
    create_key_store(store)


def _make_stand_ins(
    repository: AuthorityRepository, module: Module, ceremony: LoadedCeremony, site: Site, records: list[KeyRecord]
) -> StandIns:
    """A key for each of these records: same label, same state, on the token of the same name.

    Keys on tokens that the script does not use get a record too, since a trust bundle may name them.
    """
    from cli.context import open_session, open_store

    if len(records) > _STAND_INS_MAX:
        raise InputRefused(f"the ceremony could meet {len(records)} keys; a rehearsal makes at most {_STAND_INS_MAX}")
    made = StandIns()
    with open_store(repository) as store:
        for path, label in _backup_files(ceremony).items():
            like = next(record for record in records if record.label == label)
            records = [record for record in records if record is not like]
            with open_session(repository, site, _LOST, writable=True) as session:
                _backed_up_stand_in(repository, session, store, like, repository.root / path, made)
        for name in ceremony.site.tokens:
            if name not in site.tokens:
                continue
            here = [record for record in records if _is_on(record, ceremony.site, name)]
            records = [record for record in records if record not in here]
            if here:
                with open_session(repository, site, name, writable=True) as session:
                    for record in here:
                        _stand_in(session, store, record, made)
        for record in records:
            _absent_stand_in(store, record, module.path, made)
    return made


def _may_be_met(record: KeyRecord, ceremony: LoadedCeremony) -> bool:
    """A key that the plan names, one of its product, or one that serves every product; not one that is gone."""
    product = None if ceremony.product is None else ceremony.product.name
    is_named = record.label in ceremony.part.values.values()
    return (is_named or record.product in {None, product}) and record.state is not KeyState.DESTROYED


def _is_on(record: KeyRecord, site: Site, name: str) -> bool:
    """A site file may pin a token by its serial alone."""
    uri = pinned_uri(site, name)
    return uri.serial == record.token.serial and uri.token in {None, record.token.label}


def _stand_in(session: Session, store: KeyStore, record: KeyRecord, made: StandIns) -> None:
    from signer.tokens.key_handle import KeyHandle

    handle = session.generate(record.spec, record.label, session.probe_profile(on_token=True))
    public_key = handle.public_key if isinstance(handle, KeyHandle) else None
    token = TokenRecord(session.token.serial, session.token.label, session.module.path)
    _recorded(store, record, NewKey(record.label, handle.cka_id, public_key, token, now()))
    if record.public_key is not None and public_key is not None:
        made.keys[record.public_key] = public_key


def _backup_files(ceremony: LoadedCeremony) -> dict[str, str]:
    """The reviewed backup files: path to the label of the key in it."""
    from signer.custody.backup_file import decode_backup

    return {
        path: decode_backup(ceremony.files[path]).label
        for path in ceremony.script.files
        if ceremony.files[path].startswith(b"{") and b'"strongroom-key-backup-1"' in ceremony.files[path]
    }


def _backed_up_stand_in(
    repository: AuthorityRepository, session: Session, store: KeyStore, like: KeyRecord, path: Path, made: StandIns
) -> None:
    """A key with a backup file of its own, whose shares the rehearsal's custodians remember."""
    from signer.authority.key_generation import KeyRequest
    from signer.custody.generation import generate_with_backup
    from signer.custody.intents import CustodyIntents
    from signer.custody.kek import split_kek
    from signer.custody.plan import BackupPlan, FileBackup
    from signer.custody.shares import ShareScheme

    parts = parse_key_label(like.label)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        file = FileBackup(
            path,
            lambda: stack.enter_context(split_kek((session,), ShareScheme.of(2, ("one", "two")), made.shares)),
        )
        intents = CustodyIntents(repository.key_intents_path)
        request = KeyRequest(parts.role, parts.product, parts.sequence)
        record = generate_with_backup(intents, store, session, request, BackupPlan(file=file), _change).record
    _brought_to_state(store, record, like)
    if like.public_key is not None and record.public_key is not None:
        made.keys[like.public_key] = record.public_key


def _absent_stand_in(store: KeyStore, record: KeyRecord, module_path: str, made: StandIns) -> None:
    """A key whose token the ceremony does not use: it is held here, to sign the stand-in of a trust bundle."""
    if record.public_key is None:
        return
    key = SoftwareKey()
    token = TokenRecord("absent", "absent", module_path)
    _recorded(store, record, NewKey(record.label, key.public_key.cka_id, key.public_key, token, now()))
    made.keys[record.public_key] = key.public_key
    made.software[key.public_key] = key


@contextmanager
def _roots(repository: AuthorityRepository, site: Site, made: StandIns) -> Iterator[RootSigner]:
    """The stand-ins of roots that may sign, by their public keys."""
    from cli.context import open_store, signing_keys

    with open_store(repository) as store:
        labels = {record.public_key: record for record in store.keys(role=Role.ROOT)}
    with signing_keys(repository, site, now()) as keys:

        def signer(public_key: PublicKey) -> SigningKey | None:
            if public_key in made.software or public_key not in labels:
                return made.software.get(public_key)
            record = labels[public_key]
            try:
                return keys.key_of_store(record.label, Role.ROOT, record.product)[0]
            except PolicyViolation:
                return None

        yield signer


def _recorded(store: KeyStore, like: KeyRecord, new: NewKey) -> None:
    _brought_to_state(store, store.register(new, _change()), like)


def _brought_to_state(store: KeyStore, record: KeyRecord, like: KeyRecord) -> None:
    """The same state; the time window ends when the real one does, as far as the role allows."""
    if like.not_before is not None and like.not_after is not None and like.state is not KeyState.PRE_ACTIVATION:
        until = max(like.not_after, now() + timedelta(minutes=1))
        longest = now() + timedelta(days=like.spec.max_validity_days)
        record = store.activate(record.cka_id, now(), min(until, longest), _change())
    if like.state not in {KeyState.PRE_ACTIVATION, KeyState.ACTIVE}:
        store.change_state(record.cka_id, like.state, _change())


def _change() -> Change:
    return Change(now(), "rehearsal", "stand-in of a rehearsal")
