"""A place where ceremonies happen: tokens, a key store, custodians, and a stick for backup files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pki.key_specs import KEY_SPECS
from pki.roles import Role
from signer.authority.key_generation import KeyRequest
from signer.custody.backup_file import BackupFile, decode_backup
from signer.custody.generation import generate_with_backup
from signer.custody.intents import CustodyIntents
from signer.custody.kek import Kek, combine_kek, split_kek
from signer.custody.plan import BackupPlan, FileBackup, KeyWithBackup
from signer.custody.restore import RestoredKey, restore_key
from signer.custody.shares import CustodianShare, ShareScheme, SharesWanted
from signer.inventory.audit import audit_token, unavoidable_rules
from signer.store.key_store import KeyStore, open_key_store
from signer.store.values import KeyRecord
from signer.tokens.session import Session
from tests.softhsm_fixtures import TokenRig
from tests.unit.store.stores import NOW, change

ROOT = KeyRequest(Role.ROOT, None, 1)
LABEL = "sr:root:-:0001"
SPEC = KEY_SPECS[Role.ROOT]
CUSTODIANS = ("ann", "bob", "cleo")
TWO_OF_THREE = ShareScheme.of(2, CUSTODIANS)


@dataclass
class Custodians:
    """People with paper: what they were shown they can read back and bring again. Both protocols."""

    papers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    coming: list[str] = field(default_factory=list)
    """Whose shares, or which words, are given next; the custodians' own names stand for what is on their papers."""
    heard: list[str] = field(default_factory=list)
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def hand_out(self, share: CustodianShare) -> None:
        self.papers[share.custodian] = share.words

    def read_back(self, custodian: str, positions: tuple[int, ...]) -> Sequence[str]:
        self.asked.append((custodian, positions))
        return [self.papers[custodian][position - 1] for position in positions]

    def next_share(self, wanted: SharesWanted) -> str:
        assert self.coming, f"nobody is there, and {wanted} is asked for"
        name = self.coming.pop(0)
        return " ".join(self.papers[name]) if name in self.papers else name

    def refused(self, reason: str) -> None:
        self.heard.append(reason)

    def bring(self, *who: str) -> Custodians:
        self.coming = list(who)
        return self


@dataclass
class Place:
    folder: Path
    store: KeyStore
    home_rig: TokenRig
    spare_rig: TokenRig
    home: Session
    spare: Session
    custodians: Custodians = field(default_factory=Custodians)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, store_path: Path, home: TokenRig, spare: TokenRig) -> Iterator[Place]:
        with open_key_store(store_path) as store, home.open() as first, spare.open() as second:
            yield cls(folder, store, home, spare, first, second)

    @classmethod
    @contextmanager
    def open_one(cls, folder: Path, store_path: Path, rig: TokenRig) -> Iterator[Place]:
        """With one token only, which is then the home and the spare."""
        with open_key_store(store_path) as store, rig.open() as session:
            yield cls(folder, store, rig, rig, session, session)

    @property
    def intents(self) -> CustodyIntents:
        return CustodyIntents(self.folder / "intents")

    @property
    def file(self) -> Path:
        return self.folder / "root.backup"

    def split(self, *sessions: Session, scheme: ShareScheme = TWO_OF_THREE) -> Kek:
        return split_kek(sessions or (self.home,), scheme, self.custodians)

    def plan(self, *, copy: bool = True, file: bool = True, ceremony_digest: bytes | None = None) -> BackupPlan:
        return BackupPlan(
            (self.spare,) if copy else (), FileBackup(self.file, self.split) if file else None, ceremony_digest
        )

    def generate(self, plan: BackupPlan | None = None, request: KeyRequest = ROOT) -> KeyWithBackup:
        return generate_with_backup(self.intents, self.store, self.home, request, plan or self.plan(), change)

    def combine(self, *who: str) -> Kek:
        return combine_kek([self.spare], self.backup().kek, self.custodians.bring(*(who or ("bob", "cleo"))))

    def restore(self, data: bytes | None = None) -> RestoredKey:
        data = self.file.read_bytes() if data is None else data
        return restore_key(self.intents, self.store, self.spare, data, self.combine, change)

    def backup(self) -> BackupFile:
        return decode_backup(self.file.read_bytes())

    def labels_on(self, session: Session) -> list[str]:
        return sorted(f"{item.object_class} {item.label}" for item in session.objects())

    def errors_on(self, session: Session) -> set[str]:
        token = (session.token.serial, session.token.label)
        unavoidable = unavoidable_rules(session.probe_profile())
        findings = audit_token(session.objects(), self.store.keys(token=token), NOW, unavoidable, token)
        return {f"{finding.rule_id} {finding.subject}" for finding in findings if finding.severity == "error"}

    def record(self) -> KeyRecord:
        return self.store.key(LABEL)

    def pending(self) -> list[str]:
        return [path.name for path in (self.folder / "intents").rglob("*") if path.is_file() and path.name != "lock"]


def shows_words(text: str, words: Sequence[str]) -> bool:
    """Whether a text has two neighbouring words of a share; single ones are words of English."""
    return any(f"{first} {second}" in text for first, second in pairwise(words))


PAIR = [f"private-key {LABEL}", f"public-key {LABEL}"]
