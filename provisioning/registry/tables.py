"""The tables as SQLAlchemy Core sees them. The migrations are what makes them; a test holds the two together.

Binary values are lower-case hexadecimal text, except signed objects and certificates; times are the text of
signer/store/stored_times.py; product and order ids are UUIDs as text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

_INT = BigInteger().with_variant(Integer, "sqlite")
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _int(name: str, *, null: bool = False, key: bool = False) -> Column[int]:
    return Column(name, _INT, nullable=null, primary_key=key, autoincrement=False)


def _text(name: str, *, null: bool = False, key: bool = False) -> Column[str]:
    return Column(name, _TEXT, nullable=null, primary_key=key)


def _blob(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


def _device(*, null: bool = False, key: bool = False) -> Column[int]:
    return Column("device_id", _INT, ForeignKey("devices.id"), nullable=null, primary_key=key, autoincrement=False)


imports = Table(
    "imports",
    metadata,
    _int("id", key=True),
    _text("kind"),
    _text("sha256"),
    _text("taken_at"),
    _text("taken_by"),
    _int("added"),
)

ca_certificates = Table(
    "ca_certificates",
    metadata,
    _text("spki_sha256", key=True),
    _text("issuer_spki_sha256"),
    _blob("der"),
    _text("taken_at"),
)

lots = Table("lots", metadata, _text("product_id", key=True), _text("lot", key=True), _text("taken_at"))

orders = Table(
    "orders",
    metadata,
    _text("order_id", key=True),
    _text("digest"),
    _text("product_id"),
    _text("lot"),
    _int("quota"),
    _int("inject"),
    _int("trust_bundle_version_min"),
    _text("not_before"),
    _text("not_after"),
    _int("protection_required"),
    _int("hardware_revision_min"),
    _int("hardware_revision_max"),
    _text("lot_public_key"),
    _text("group_public_key", null=True),
    _text("issuing_ca"),
    _text("signer_key_id"),
    _blob("signed"),
    _text("taken_at"),
    UniqueConstraint("digest", name="one_order_of_a_digest"),
    ForeignKeyConstraint(["product_id", "lot"], ["lots.product_id", "lots.lot"]),
)

stations = Table(
    "stations",
    metadata,
    _text("fingerprint", key=True),
    _text("public_key", null=True),
    _text("taken_at"),
)

ledgers = Table(
    "ledgers",
    metadata,
    _int("id", key=True),
    Column("order_id", _TEXT, ForeignKey("orders.order_id"), nullable=False),
    Column("station", _TEXT, ForeignKey("stations.fingerprint"), nullable=False),
    _int("sub_quota"),
    _int("last_number"),
    _int("last_sequence"),
    _text("head"),
    _text("last_at", null=True),
    _int("evidence_commit", null=True),
    UniqueConstraint("order_id", "station", name="one_ledger_of_order_and_station"),
)

devices = Table(
    "devices",
    metadata,
    _int("id", key=True),
    _text("product_id"),
    _text("uid"),
    _text("serial"),
    _text("lot"),
    _int("hardware_revision"),
    _text("lifecycle"),
    Column("order_id", _TEXT, ForeignKey("orders.order_id"), nullable=False),
    _text("station"),
    _int("sequence"),
    _text("begun_at"),
    _text("activated_at", null=True),
    _int("protection"),
    _int("trust_bundle_version"),
    _text("trust_bundle_since"),
    _text("application_version", null=True),
    _text("application_head_hash", null=True),
    _text("identity_public_key", null=True),
    _text("agreement_public_key", null=True),
    _text("heard_at"),
    UniqueConstraint("product_id", "uid", name="one_device_of_a_uid"),
    ForeignKeyConstraint(["product_id", "lot"], ["lots.product_id", "lots.lot"]),
    Index("devices_by_uid", "uid"),
    Index("devices_by_lot", "product_id", "lot"),
    Index("devices_by_bundle", "product_id", "trust_bundle_version"),
    Index("devices_by_lifecycle", "product_id", "lifecycle"),
    Index("devices_by_order", "order_id"),
    Index("devices_by_serial", "serial"),
)

device_keys = Table(
    "device_keys",
    metadata,
    _device(key=True),
    _text("role", key=True),
    _text("public_key", key=True),
    _text("key_id"),
    _text("since"),
    _text("until", null=True),
    Index(
        "one_device_of_a_key",
        "public_key",
        unique=True,
        sqlite_where=text("role <> 'group'"),
        postgresql_where=text("role <> 'group'"),
    ),
)

certificates = Table(
    "certificates",
    metadata,
    _text("sha256", key=True),
    _device(),
    _text("issuer_spki_sha256"),
    _text("serial_number"),
    _blob("der"),
    _text("not_before"),
    _text("not_after"),
    _text("since"),
    _text("until", null=True),
    UniqueConstraint("issuer_spki_sha256", "serial_number", name="one_certificate_of_a_number"),
    Index("certificates_by_device", "device_id"),
)

birth_records = Table(
    "birth_records",
    metadata,
    Column("ledger_id", _INT, ForeignKey("ledgers.id"), nullable=False, primary_key=True, autoincrement=False),
    _int("number", key=True),
    _text("digest"),
    _text("event"),
    _text("uid"),
    _text("at"),
    _text("reason", null=True),
    _text("record"),
    _blob("signature"),
    Index("birth_records_by_uid", "uid"),
)

births = Table(
    "births",
    metadata,
    Column("ledger_id", _INT, ForeignKey("ledgers.id"), nullable=False, primary_key=True, autoincrement=False),
    _text("uid", key=True),
    _int("sequence", null=True),
    _device(null=True),
    _text("state"),
    _text("serial", null=True),
    _text("identity_public_key", null=True),
    _text("certificate_sha256", null=True),
    _text("activation_digest", null=True),
    _text("at"),
    UniqueConstraint("ledger_id", "sequence", name="one_birth_of_a_sequence"),
    Index("births_by_uid", "uid"),
    Index("births_by_state", "ledger_id", "state"),
    Index(
        "one_birth_of_a_serial",
        "ledger_id",
        "serial",
        unique=True,
        sqlite_where=text("serial <> ''"),
        postgresql_where=text("serial <> ''"),
    ),
)

activations = Table(
    "activations",
    metadata,
    _text("digest", key=True),
    _int("ledger_id"),
    _text("uid"),
    _text("agreement_public_key"),
    ForeignKeyConstraint(["ledger_id", "uid"], ["births.ledger_id", "births.uid"]),
    Index("activations_of_birth", "ledger_id", "uid"),
)

statuses = Table(
    "statuses",
    metadata,
    _int("id", key=True),
    _device(),
    _text("digest"),
    _text("nonce"),
    _blob("signed"),
    _text("at"),
    UniqueConstraint("digest", name="one_status_of_a_digest"),
    Index("statuses_by_device", "device_id", "at"),
)

lifecycles = Table(
    "lifecycles",
    metadata,
    _device(key=True),
    _int("number", key=True),
    _text("lifecycle"),
    _text("at"),
    _text("cause"),
    _text("evidence"),
)

firmware = Table(
    "firmware",
    metadata,
    _device(key=True),
    _text("component", key=True),
    _int("number", key=True),
    _text("version"),
    _int("security_version"),
    _text("head_hash", null=True),
    _text("at"),
    _text("evidence"),
    Index("firmware_by_head_hash", "head_hash"),
)

trust_bundles = Table(
    "trust_bundles",
    metadata,
    _device(key=True),
    _int("number", key=True),
    _int("version"),
    _text("digest"),
    _text("at"),
    _text("evidence"),
)

services = Table(
    "services",
    metadata,
    _text("order_digest", key=True),
    _device(),
    _int("action"),
    _blob("service_order"),
    _blob("receipt", null=True),
    _text("at"),
    Index("services_by_device", "device_id"),
)

grant_batches = Table(
    "grant_batches",
    metadata,
    _int("id", key=True),
    _text("batch_id"),
    _text("product_id"),
    _text("head_hash"),
    _int("device_count"),
    _text("root"),
    _text("signer_key_id"),
    _blob("signed"),
    _text("at"),
    UniqueConstraint("batch_id", name="one_batch_of_an_id"),
    Index("grant_batches_by_head_hash", "head_hash"),
)

grants = Table(
    "grants",
    metadata,
    Column("batch", _INT, ForeignKey("grant_batches.id"), nullable=False, primary_key=True, autoincrement=False),
    _int("leaf", key=True),
    _device(),
    Index("grants_by_device", "device_id"),
)
