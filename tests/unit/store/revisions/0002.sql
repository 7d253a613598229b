-- A populated key store of revision 0002, made by its own migrations.
PRAGMA application_id = 1397902163;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE certificates (
        sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
        cka_id BLOB NOT NULL REFERENCES keys (cka_id),
        der BLOB NOT NULL CHECK (length(der) BETWEEN 1 AND 16384),
        serial_number TEXT NOT NULL CHECK (length(serial_number) BETWEEN 1 AND 40),
        subject TEXT NOT NULL CHECK (length(subject) <= 2048),
        issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
        not_before TEXT NOT NULL CHECK (not_before GLOB '????-??-??T??:??:??.??????Z'),
        not_after TEXT NOT NULL CHECK (not_after GLOB '????-??-??T??:??:??.??????Z'),
        added_at TEXT NOT NULL CHECK (added_at GLOB '????-??-??T??:??:??.??????Z'),
        added_by TEXT NOT NULL CHECK (length(added_by) BETWEEN 1 AND 128),
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 512),
        ended_at TEXT CHECK (ended_at GLOB '????-??-??T??:??:??.??????Z')
    ) STRICT
    ;
INSERT INTO "certificates" VALUES(X'B4B7C8560D9243D9F2B8A9AE872636F9B9D6BE4CF50E5D6A120E3EFAD4B39C0A',X'FF5D4143C31A24E871680E90BC883F08C414B26B',X'308201203081C6A00302010202080123456789ABCDEF300A06082A8648CE3D04030230163114301206035504030C0B52656C65617365206B6579301E170D3236313132323132303030305A170D3237313132323132303030305A30163114301206035504030C0B52656C65617365206B65793059301306072A8648CE3D020106082A8648CE3D030107034200043E7E8A2F69DC1D2D4B38CA139EA03334EFE1629F5D2388A471FC09E16AE38BD9A989EB3CFF8EE4A70966DD89D2815781E7C455084D4F085E07A06BA0F78115C8300A06082A8648CE3D0403020349003046022100D9A384EAB53CD3759EDC1EC0AE1C459CE8FC6A90FE4FF02C87D0229919539A98022100ADC02FC126F8D1182800B630D06958C17E2E2C441AF80DDD33C5A8A33959CA0B','123456789abcdef','CN=Release key','CN=Release key','2026-11-22T12:00:00.000000Z','2027-11-22T12:00:00.000000Z','2026-11-22T12:00:00.123456Z','alice@example.com','issued','2026-11-22T12:00:00.123456Z');
INSERT INTO "certificates" VALUES(X'EF90510407AE2BCAC5899C9D23C418F885715FD12B0F432CEE7188272026A148',X'FF5D4143C31A24E871680E90BC883F08C414B26B',X'308201193081BFA00302010202014D300A06082A8648CE3D04030230163114301206035504030C0B52656C65617365206B6579301E170D3236313132323132303030305A170D3237313132323132303030305A30163114301206035504030C0B52656C65617365206B65793059301306072A8648CE3D020106082A8648CE3D030107034200043E7E8A2F69DC1D2D4B38CA139EA03334EFE1629F5D2388A471FC09E16AE38BD9A989EB3CFF8EE4A70966DD89D2815781E7C455084D4F085E07A06BA0F78115C8300A06082A8648CE3D0403020349003046022100F30ECB359D088DB72B92FA34EC85C502CC09E0F12A5FB18125E2705016BDDC94022100F486B3A62DFB2AF490CB1BBD583984C583DA7D39D3D1EAE3238AF17CC0250E21','4d','CN=Release key','CN=Release key','2026-11-22T12:00:00.000000Z','2027-11-22T12:00:00.000000Z','2026-11-22T12:00:00.123456Z','alice@example.com','renewed',NULL);
CREATE TABLE content_keys_used (
        fingerprint BLOB NOT NULL PRIMARY KEY CHECK (length(fingerprint) = 32),
        claimed_at TEXT NOT NULL CHECK (claimed_at GLOB '????-??-??T??:??:??.??????Z')
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "content_keys_used" VALUES(X'0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F20','2026-11-22T12:00:00.123456Z');
CREATE TABLE key_state_changes (
        cka_id BLOB NOT NULL REFERENCES keys (cka_id),
        sequence INTEGER NOT NULL CHECK (sequence >= 1),
        from_state TEXT,
        to_state TEXT NOT NULL,
        changed_at TEXT NOT NULL CHECK (changed_at GLOB '????-??-??T??:??:??.??????Z'),
        changed_by TEXT NOT NULL CHECK (length(changed_by) BETWEEN 1 AND 128),
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 512),
        PRIMARY KEY (cka_id, sequence),
        CHECK ((sequence = 1) = (from_state IS NULL)),
        CHECK (coalesce(from_state, 'none') || ' > ' || to_state IN (
            'none > pre-activation',
            'pre-activation > active', 'pre-activation > compromised', 'pre-activation > destroyed',
            'active > suspended', 'active > deactivated', 'active > compromised', 'active > destroyed',
            'suspended > active', 'suspended > deactivated', 'suspended > compromised', 'suspended > destroyed',
            'deactivated > compromised', 'deactivated > destroyed',
            'compromised > destroyed'))
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "key_state_changes" VALUES(X'6B638B0EBAA01A0937374E767F75CBDA62668287',1,NULL,'pre-activation','2026-11-22T12:00:00.123456Z','alice@example.com','test');
INSERT INTO "key_state_changes" VALUES(X'FE6615F9D8075C9A515316241FE18F3ED9EB9378',1,NULL,'pre-activation','2026-11-22T12:00:00.123456Z','alice@example.com','test');
INSERT INTO "key_state_changes" VALUES(X'FE6615F9D8075C9A515316241FE18F3ED9EB9378',2,'pre-activation','compromised','2026-11-23T12:00:00.123456Z','alice@example.com','test');
INSERT INTO "key_state_changes" VALUES(X'FE6615F9D8075C9A515316241FE18F3ED9EB9378',3,'compromised','destroyed','2026-11-23T12:00:00.123456Z','alice@example.com','test');
INSERT INTO "key_state_changes" VALUES(X'FF5D4143C31A24E871680E90BC883F08C414B26B',1,NULL,'pre-activation','2026-11-22T12:00:00.123456Z','alice@example.com','generated for pump-x2');
INSERT INTO "key_state_changes" VALUES(X'FF5D4143C31A24E871680E90BC883F08C414B26B',2,'pre-activation','active','2026-11-22T12:00:00.123456Z','alice@example.com','approved');
CREATE TABLE keys (
        cka_id BLOB NOT NULL PRIMARY KEY CHECK (length(cka_id) = 20),
        label TEXT NOT NULL UNIQUE CHECK (length(label) BETWEEN 1 AND 61),
        role TEXT NOT NULL CHECK (length(role) BETWEEN 1 AND 32),
        product TEXT CHECK (length(product) BETWEEN 1 AND 32),
        algorithm TEXT NOT NULL CHECK (algorithm IN ('ec-p256', 'aes-256')),
        spki BLOB UNIQUE CHECK (length(spki) = 91),
        token_id INTEGER NOT NULL REFERENCES tokens (id),
        created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.??????Z'),
        not_before TEXT CHECK (not_before GLOB '????-??-??T??:??:??.??????Z'),
        not_after TEXT CHECK (not_after GLOB '????-??-??T??:??:??.??????Z'),
        CHECK ((algorithm = 'ec-p256') = (spki IS NOT NULL)),
        CHECK ((not_before IS NULL) = (not_after IS NULL)),
        CHECK (not_before IS NULL OR not_before < not_after)
    ) STRICT
    ;
INSERT INTO "keys" VALUES(X'FF5D4143C31A24E871680E90BC883F08C414B26B','sr:application-release:pump-x2:0001','application-release','pump-x2','ec-p256',X'3059301306072A8648CE3D020106082A8648CE3D030107034200043E7E8A2F69DC1D2D4B38CA139EA03334EFE1629F5D2388A471FC09E16AE38BD9A989EB3CFF8EE4A70966DD89D2815781E7C455084D4F085E07A06BA0F78115C8',1,'2026-11-22T12:00:00.123456Z','2026-11-22T12:00:00.123456Z','2027-02-20T12:00:00.123456Z');
INSERT INTO "keys" VALUES(X'FE6615F9D8075C9A515316241FE18F3ED9EB9378','sr:root:-:0001','root',NULL,'ec-p256',X'3059301306072A8648CE3D020106082A8648CE3D030107034200041E00DB896B4A384A299C67C1B7419A2E2D7A9A62C7EBF359084887B2F0AA45E702015ACD56A87CC65CE2255B9FB27D65A2FEB7EDDDF5398FDE07776A5B7AF178',2,'2026-11-22T12:00:00.123456Z',NULL,NULL);
INSERT INTO "keys" VALUES(X'6B638B0EBAA01A0937374E767F75CBDA62668287','sr:package-wrap:-:0001','package-wrap',NULL,'aes-256',NULL,1,'2026-11-22T12:00:00.123456Z',NULL,NULL);
CREATE TABLE tokens (
        id INTEGER NOT NULL PRIMARY KEY,
        serial TEXT NOT NULL CHECK (length(serial) BETWEEN 1 AND 64),
        label TEXT NOT NULL CHECK (length(label) <= 64),
        module_path TEXT NOT NULL CHECK (length(module_path) BETWEEN 1 AND 4096),
        UNIQUE (serial, label)
    ) STRICT
    ;
INSERT INTO "tokens" VALUES(1,'7bd61f2e0a9c4e01','release','/usr/lib/softhsm/libsofthsm2.so');
INSERT INTO "tokens" VALUES(2,'7bd61f2e0a9c4e01','roots','/usr/lib/softhsm/libsofthsm2.so');
CREATE INDEX certificates_of_key ON certificates (cka_id);
CREATE UNIQUE INDEX one_current_certificate ON certificates (cka_id) WHERE ended_at IS NULL;
CREATE TRIGGER keys_stay BEFORE DELETE ON keys
    BEGIN SELECT raise(ABORT, 'a key is never taken out of the store'); END;
CREATE TRIGGER keys_are_fixed BEFORE UPDATE ON keys
    WHEN OLD.not_before IS NOT NULL
        OR (OLD.cka_id, OLD.label, OLD.role, OLD.product, OLD.algorithm, OLD.spki, OLD.token_id, OLD.created_at)
            IS NOT
            (NEW.cka_id, NEW.label, NEW.role, NEW.product, NEW.algorithm, NEW.spki, NEW.token_id, NEW.created_at)
    BEGIN SELECT raise(ABORT, 'only the time window of a key is set later, and only once'); END;
CREATE TRIGGER key_state_changes_stay BEFORE DELETE ON key_state_changes
    BEGIN SELECT raise(ABORT, 'the history of a key is append-only'); END;
CREATE TRIGGER key_state_changes_are_fixed BEFORE UPDATE ON key_state_changes
    BEGIN SELECT raise(ABORT, 'the history of a key is append-only'); END;
CREATE TRIGGER key_state_changes_follow BEFORE INSERT ON key_state_changes
    WHEN NEW.sequence <> 1 + (SELECT count(*) FROM key_state_changes WHERE cka_id = NEW.cka_id)
        OR EXISTS (
            SELECT 1 FROM key_state_changes
            WHERE cka_id = NEW.cka_id AND sequence = NEW.sequence - 1
                AND (to_state IS NOT NEW.from_state OR changed_at > NEW.changed_at))
    BEGIN SELECT raise(ABORT, 'a state change follows from the newest one, and is not dated before it'); END;
CREATE TRIGGER certificates_stay BEFORE DELETE ON certificates
    BEGIN SELECT raise(ABORT, 'a certificate is never taken out of the store'); END;
CREATE TRIGGER certificates_are_fixed BEFORE UPDATE ON certificates
    WHEN OLD.ended_at IS NOT NULL
        OR (OLD.sha256, OLD.cka_id, OLD.der, OLD.serial_number, OLD.subject, OLD.issuer, OLD.not_before,
            OLD.not_after, OLD.added_at, OLD.added_by, OLD.reason)
            IS NOT
            (NEW.sha256, NEW.cka_id, NEW.der, NEW.serial_number, NEW.subject, NEW.issuer, NEW.not_before,
            NEW.not_after, NEW.added_at, NEW.added_by, NEW.reason)
    BEGIN SELECT raise(ABORT, 'a certificate can only be ended, and only once'); END;
CREATE TRIGGER content_keys_used_stay BEFORE DELETE ON content_keys_used
    BEGIN SELECT raise(ABORT, 'a content key is never forgotten'); END;
CREATE TRIGGER content_keys_used_are_fixed BEFORE UPDATE ON content_keys_used
    BEGIN SELECT raise(ABORT, 'a content key is never forgotten'); END;
COMMIT;
