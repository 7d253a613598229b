"""Orders, ledgers of stations, birth records, devices with their keys, certificates, states, firmware, and grants.

One text for both databases: `{int}` holds what fits 64 bits, `{text}` sorts by bytes, `{strict}` ends a table.
"""

from __future__ import annotations

from alembic import op

revision = "registry_0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_WORDS = {
    "sqlite": {"int": "INTEGER", "text": "TEXT", "blob": "BLOB", "strict": " STRICT", "flat": " STRICT, WITHOUT ROWID"},
    "postgresql": {"int": "BIGINT", "text": 'TEXT COLLATE "C"', "blob": "BYTEA", "strict": "", "flat": ""},
}


def _hex(name: str, size_bytes: int, null: str = " NOT NULL") -> str:
    """A column of lower-case hexadecimal digits."""
    return f"{name} {{text}}{null} CHECK (length({name}) = {2 * size_bytes} AND {name} = lower({name}))"


def _uuid(name: str) -> str:
    return f"{name} {{text}} NOT NULL CHECK (length({name}) = 36 AND {name} = lower({name}))"


def _time(name: str, null: str = " NOT NULL") -> str:
    """A time as signer/store/stored_times.py writes it: 27 characters, UTC, microseconds."""
    return f"{name} {{text}}{null} CHECK (length({name}) = 27 AND {name} LIKE '____-__-__T__:__:__.______Z')"


def _line(name: str, longest: int, shortest: int = 1, null: str = " NOT NULL") -> str:
    return f"{name} {{text}}{null} CHECK (length({name}) BETWEEN {shortest} AND {longest})"


def _u16(name: str) -> str:
    return f"{name} {{int}} NOT NULL CHECK ({name} BETWEEN 0 AND 65535)"


def _u32(name: str, lowest: int = 0, null: str = " NOT NULL") -> str:
    return f"{name} {{int}}{null} CHECK ({name} BETWEEN {lowest} AND 4294967295)"


def _raw(name: str, size_bytes: int, null: str = " NOT NULL") -> str:
    return f"{name} {{blob}}{null} CHECK (length({name}) = {size_bytes})"


_LIFECYCLES = "('locked', 'operational', 'rma', 'decommissioned', 'scrapped')"

_TABLES = (
    # Every file that was taken, and who took it.
    f"""
    CREATE TABLE imports (
        id {{int}} NOT NULL PRIMARY KEY,
        kind {{text}} NOT NULL CHECK (kind IN ('births', 'order', 'service', 'status', 'grants')),
        {_hex("sha256", 32)},
        {_time("taken_at")},
        {_line("taken_by", 128)},
        added {{int}} NOT NULL CHECK (added >= 0)
    ){{strict}}
    """,
    f"""
    CREATE TABLE ca_certificates (
        {_hex("spki_sha256", 32)},
        {_hex("issuer_spki_sha256", 32)},
        der {{blob}} NOT NULL CHECK (length(der) BETWEEN 1 AND 16384),
        {_time("taken_at")},
        PRIMARY KEY (spki_sha256)
    ){{strict}}
    """,
    f"""
    CREATE TABLE lots (
        {_uuid("product_id")},
        {_line("lot", 16)},
        {_time("taken_at")},
        PRIMARY KEY (product_id, lot)
    ){{strict}}
    """,
    f"""
    CREATE TABLE orders (
        {_uuid("order_id")},
        {_hex("digest", 32)},
        {_uuid("product_id")},
        {_line("lot", 16)},
        quota {{int}} NOT NULL CHECK (quota BETWEEN 1 AND 10000000),
        inject {{int}} NOT NULL CHECK (inject BETWEEN 0 AND 3),
        {_u32("trust_bundle_version_min", 1)},
        {_time("not_before")},
        {_time("not_after")},
        {_u16("protection_required")},
        {_u16("hardware_revision_min")},
        {_u16("hardware_revision_max")},
        {_hex("lot_public_key", 64)},
        {_hex("group_public_key", 64, null="")},
        {_hex("issuing_ca", 32)},
        {_hex("signer_key_id", 8)},
        {_raw("signed", 640)},
        {_time("taken_at")},
        PRIMARY KEY (order_id),
        CONSTRAINT one_order_of_a_digest UNIQUE (digest),
        FOREIGN KEY (product_id, lot) REFERENCES lots (product_id, lot)
    ){{strict}}
    """,
    f"""
    CREATE TABLE stations (
        {_hex("fingerprint", 32)},
        {_hex("public_key", 64, null="")},
        {_time("taken_at")},
        PRIMARY KEY (fingerprint)
    ){{strict}}
    """,
    # What one station wrote of one order: its records end with `last_number`, whose digest is `head`.
    f"""
    CREATE TABLE ledgers (
        id {{int}} NOT NULL PRIMARY KEY,
        {_uuid("order_id")},
        {_hex("station", 32)},
        sub_quota {{int}} NOT NULL CHECK (sub_quota BETWEEN 1 AND 10000000),
        last_number {{int}} NOT NULL CHECK (last_number >= 0),
        last_sequence {{int}} NOT NULL CHECK (last_sequence BETWEEN 0 AND sub_quota),
        {_hex("head", 32)},
        {_time("last_at", null="")},
        evidence_commit {{int}} CHECK (evidence_commit >= 0),
        CONSTRAINT one_ledger_of_order_and_station UNIQUE (order_id, station),
        FOREIGN KEY (order_id) REFERENCES orders (order_id),
        FOREIGN KEY (station) REFERENCES stations (fingerprint)
    ){{strict}}
    """,
    # One physical device; what it is now. What it was is in the tables below.
    f"""
    CREATE TABLE devices (
        id {{int}} NOT NULL PRIMARY KEY,
        {_uuid("product_id")},
        {_hex("uid", 16)},
        {_line("serial", 32, shortest=0)},
        {_line("lot", 16)},
        {_u16("hardware_revision")},
        lifecycle {{text}} NOT NULL CHECK (lifecycle IN {_LIFECYCLES}),
        {_uuid("order_id")},
        {_hex("station", 32)},
        sequence {{int}} NOT NULL CHECK (sequence BETWEEN 1 AND 10000000),
        {_time("begun_at")},
        {_time("activated_at", null="")},
        {_u16("protection")},
        {_u32("trust_bundle_version", 1)},
        {_time("trust_bundle_since")},
        {_line("application_version", 40, null="")},
        {_hex("application_head_hash", 32, null="")},
        {_hex("identity_public_key", 64, null="")},
        {_hex("agreement_public_key", 64, null="")},
        {_time("heard_at")},
        CONSTRAINT one_device_of_a_uid UNIQUE (product_id, uid),
        FOREIGN KEY (product_id, lot) REFERENCES lots (product_id, lot),
        FOREIGN KEY (order_id) REFERENCES orders (order_id)
    ){{strict}}
    """,
    "CREATE INDEX devices_by_uid ON devices (uid)",
    "CREATE INDEX devices_by_lot ON devices (product_id, lot)",
    "CREATE INDEX devices_by_bundle ON devices (product_id, trust_bundle_version)",
    "CREATE INDEX devices_by_lifecycle ON devices (product_id, lifecycle)",
    "CREATE INDEX devices_by_order ON devices (order_id)",
    "CREATE INDEX devices_by_serial ON devices (serial)",
    f"""
    CREATE TABLE device_keys (
        device_id {{int}} NOT NULL,
        role {{text}} NOT NULL CHECK (role IN ('identity', 'agreement', 'group')),
        {_hex("public_key", 64)},
        {_hex("key_id", 8)},
        {_time("since")},
        {_time("until", null="")},
        PRIMARY KEY (device_id, role, public_key),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{flat}}
    """,
    # A key of a device is never another's, nor its own again under another role: a clone is found here.
    "CREATE UNIQUE INDEX one_device_of_a_key ON device_keys (public_key) WHERE role <> 'group'",
    f"""
    CREATE TABLE certificates (
        {_hex("sha256", 32)},
        device_id {{int}} NOT NULL,
        {_hex("issuer_spki_sha256", 32)},
        serial_number {{text}} NOT NULL CHECK (length(serial_number) BETWEEN 1 AND 40),
        der {{blob}} NOT NULL CHECK (length(der) BETWEEN 1 AND 1024),
        {_time("not_before")},
        {_time("not_after")},
        {_time("since")},
        {_time("until", null="")},
        PRIMARY KEY (sha256),
        CONSTRAINT one_certificate_of_a_number UNIQUE (issuer_spki_sha256, serial_number),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{flat}}
    """,
    "CREATE INDEX certificates_by_device ON certificates (device_id)",
    f"""
    CREATE TABLE birth_records (
        ledger_id {{int}} NOT NULL,
        number {{int}} NOT NULL CHECK (number >= 1),
        {_hex("digest", 32)},
        event {{text}} NOT NULL CHECK (event IN ('begun', 'renewed', 'activated', 'failed', 'scrapped')),
        {_hex("uid", 16)},
        {_time("at")},
        {_line("reason", 200, null="")},
        {_line("record", 8192, shortest=2)},
        {_raw("signature", 64)},
        PRIMARY KEY (ledger_id, number),
        FOREIGN KEY (ledger_id) REFERENCES ledgers (id)
    ){{flat}}
    """,
    "CREATE INDEX birth_records_by_uid ON birth_records (uid)",
    # What became of each UID in each ledger.
    f"""
    CREATE TABLE births (
        ledger_id {{int}} NOT NULL,
        {_hex("uid", 16)},
        sequence {{int}} CHECK (sequence BETWEEN 1 AND 10000000),
        device_id {{int}},
        state {{text}} NOT NULL CHECK (state IN ('begun', 'activated', 'failed', 'scrapped')),
        {_line("serial", 32, shortest=0, null="")},
        {_hex("identity_public_key", 64, null="")},
        {_hex("certificate_sha256", 32, null="")},
        {_hex("activation_digest", 32, null="")},
        {_time("at")},
        PRIMARY KEY (ledger_id, uid),
        CONSTRAINT one_birth_of_a_sequence UNIQUE (ledger_id, sequence),
        CHECK ((sequence IS NULL) = (device_id IS NULL) AND (sequence IS NULL) = (activation_digest IS NULL)),
        CHECK (sequence IS NOT NULL OR state IN ('failed', 'scrapped')),
        FOREIGN KEY (ledger_id) REFERENCES ledgers (id),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{flat}}
    """,
    "CREATE INDEX births_by_uid ON births (uid)",
    "CREATE INDEX births_by_state ON births (ledger_id, state)",
    "CREATE UNIQUE INDEX one_birth_of_a_serial ON births (ledger_id, serial) WHERE serial <> ''",
    f"""
    CREATE TABLE activations (
        {_hex("digest", 32)},
        ledger_id {{int}} NOT NULL,
        {_hex("uid", 16)},
        {_hex("agreement_public_key", 64)},
        PRIMARY KEY (digest),
        FOREIGN KEY (ledger_id, uid) REFERENCES births (ledger_id, uid)
    ){{flat}}
    """,
    "CREATE INDEX activations_of_birth ON activations (ledger_id, uid)",
    f"""
    CREATE TABLE statuses (
        id {{int}} NOT NULL PRIMARY KEY,
        device_id {{int}} NOT NULL,
        {_hex("digest", 32)},
        {_hex("nonce", 32)},
        {_raw("signed", 576)},
        {_time("at")},
        CONSTRAINT one_status_of_a_digest UNIQUE (digest),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{strict}}
    """,
    "CREATE INDEX statuses_by_device ON statuses (device_id, at)",
    f"""
    CREATE TABLE lifecycles (
        device_id {{int}} NOT NULL,
        number {{int}} NOT NULL CHECK (number >= 1),
        lifecycle {{text}} NOT NULL CHECK (lifecycle IN {_LIFECYCLES}),
        {_time("at")},
        cause {{text}} NOT NULL CHECK (cause IN ('birth', 'status', 'service')),
        {_hex("evidence", 32)},
        PRIMARY KEY (device_id, number),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{flat}}
    """,
    f"""
    CREATE TABLE firmware (
        device_id {{int}} NOT NULL,
        component {{text}} NOT NULL CHECK (component IN ('application', 'bootloader-a', 'bootloader-b')),
        number {{int}} NOT NULL CHECK (number >= 1),
        {_line("version", 40)},
        {_u32("security_version")},
        {_hex("head_hash", 32, null="")},
        {_time("at")},
        {_hex("evidence", 32)},
        PRIMARY KEY (device_id, component, number),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{flat}}
    """,
    "CREATE INDEX firmware_by_head_hash ON firmware (head_hash)",
    f"""
    CREATE TABLE trust_bundles (
        device_id {{int}} NOT NULL,
        number {{int}} NOT NULL CHECK (number >= 1),
        {_u32("version", 1)},
        {_hex("digest", 32)},
        {_time("at")},
        {_hex("evidence", 32)},
        PRIMARY KEY (device_id, number),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{flat}}
    """,
    f"""
    CREATE TABLE services (
        {_hex("order_digest", 32)},
        device_id {{int}} NOT NULL,
        action {{int}} NOT NULL CHECK (action BETWEEN 1 AND 4),
        {_raw("service_order", 256)},
        {_raw("receipt", 320, null="")},
        {_time("at")},
        PRIMARY KEY (order_digest),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){{strict}}
    """,
    "CREATE INDEX services_by_device ON services (device_id)",
    f"""
    CREATE TABLE grant_batches (
        id {{int}} NOT NULL PRIMARY KEY,
        {_hex("batch_id", 16)},
        {_uuid("product_id")},
        {_hex("head_hash", 32)},
        device_count {{int}} NOT NULL CHECK (device_count BETWEEN 1 AND 2147483648),
        {_hex("root", 32)},
        {_hex("signer_key_id", 8)},
        {_raw("signed", 256)},
        {_time("at")},
        CONSTRAINT one_batch_of_an_id UNIQUE (batch_id)
    ){{strict}}
    """,
    "CREATE INDEX grant_batches_by_head_hash ON grant_batches (head_hash)",
    """
    CREATE TABLE grants (
        batch {int} NOT NULL,
        leaf {int} NOT NULL CHECK (leaf BETWEEN 0 AND 2147483647),
        device_id {int} NOT NULL,
        PRIMARY KEY (batch, leaf),
        FOREIGN KEY (batch) REFERENCES grant_batches (id),
        FOREIGN KEY (device_id) REFERENCES devices (id)
    ){flat}
    """,
    "CREATE INDEX grants_by_device ON grants (device_id)",
)

_EVIDENCE = (
    "imports",
    "ca_certificates",
    "lots",
    "orders",
    "birth_records",
    "activations",
    "statuses",
    "lifecycles",
    "firmware",
    "trust_bundles",
    "services",
    "grant_batches",
    "grants",
)
"""Tables whose rows are written once: nothing changes or removes them."""

_KEPT = ("devices", "device_keys", "certificates", "births", "ledgers", "stations")
"""Tables whose rows change, and are never removed."""

_POSTGRES_FUNCTION = """
    CREATE FUNCTION strongroom_keeps() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION USING ERRCODE = ''restrict_violation'', MESSAGE = TG_TABLE_NAME || '' keeps its rows''; END'
"""


def _guards(dialect: str) -> list[str]:
    """Triggers by which the rows stay, whatever program writes."""
    guarded = [(table, "DELETE") for table in _EVIDENCE + _KEPT] + [(table, "UPDATE") for table in _EVIDENCE]
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_keeps_on_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT raise(ABORT, '{table} keeps its rows'); END"
            for table, verb in guarded
        ]
    rows = [
        f"CREATE TRIGGER {table}_keeps_on_{verb.lower()} BEFORE {verb} ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION strongroom_keeps()"
        for table, verb in guarded
    ]
    emptied = [
        f"CREATE TRIGGER {table}_keeps_on_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION strongroom_keeps()"
        for table in _EVIDENCE + _KEPT
    ]
    return [_POSTGRES_FUNCTION, *rows, *emptied]


def upgrade() -> None:
    """Make the tables, then what keeps their rows."""
    bind = op.get_bind()
    for statement in _TABLES:
        bind.exec_driver_sql(statement.format_map(_WORDS[bind.dialect.name]))
    for statement in _guards(bind.dialect.name):
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """Refused: the tables are evidence."""
    raise NotImplementedError("registries are not downgraded")
