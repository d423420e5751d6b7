-- A store as schema 1 was written, with a bit of everything: `.dump` of the `sqlite3` shell, and
-- the settings that a dump leaves out. Later versions must open it.
PRAGMA auto_vacuum=INCREMENTAL;
PRAGMA application_id=2002937196;
PRAGMA user_version=1;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('created_at',1795219200000);
INSERT INTO meta VALUES('epoch',1);
INSERT INTO meta VALUES('minted:tag','status.example.org,2026');
INSERT INTO meta VALUES('revision',1);
INSERT INTO meta VALUES('salt',X'9992f3acf4bfc103ca571dd8bc298242');
CREATE TABLE world (
    key  TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO world VALUES('service:api','{}');
CREATE TABLE service (
    no       INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    grp      TEXT,
    name     TEXT NOT NULL,
    position INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO service VALUES(1,'api',NULL,'api',NULL,1);
CREATE TABLE service_now (
    service        TEXT PRIMARY KEY,
    status         TEXT NOT NULL,
    since_at       INTEGER NOT NULL,
    checks_up      INTEGER NOT NULL,
    checks_known   INTEGER NOT NULL,
    last_result_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO service_now VALUES('api','major_outage',1795219210000,0,1,1795219220000);
CREATE TABLE span (
    service TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    to_at   INTEGER,
    status  TEXT NOT NULL,
    PRIMARY KEY (service, from_at)
) STRICT, WITHOUT ROWID;
CREATE TABLE correction (
    service  TEXT NOT NULL,
    from_at  INTEGER NOT NULL,
    to_at    INTEGER NOT NULL,
    count_as TEXT NOT NULL,
    why      TEXT NOT NULL,
    PRIMARY KEY (service, from_at)
) STRICT, WITHOUT ROWID;
INSERT INTO span VALUES('api',1795219200000,1795219210000,'operational');
INSERT INTO span VALUES('api',1795219210000,NULL,'major_outage');
CREATE TABLE incident (
    id          TEXT PRIMARY KEY,
    v           INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    aliases     TEXT NOT NULL,
    status      TEXT NOT NULL,
    impact      TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    resolved_at INTEGER,
    services    TEXT NOT NULL,
    withdrawn   INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    json        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO incident VALUES('2026-11-21-api',1,1,'[]','investigating','critical',1795219210000,NULL,'["api"]',0,1,'{"id":"2026-11-21-api","version":1,"aliases":[],"origin":"automatic","title":null,"root":null,"status":"investigating","impact":"critical","impact_override":null,"started_at":"2026-11-21T00:00:10Z","noticed_at":"2026-11-21T00:00:20Z","resolved_at":null,"affected":[{"service":"api","status":"major_outage","worst":"major_outage","started_at":"2026-11-21T00:00:10Z","recovered_at":null,"earlier_ms":0,"cause":null,"seen_failing":true}],"updates":[],"facts":[],"postmortem":null,"auto_resolve":true,"withdrawn":false,"reopened":0}');
CREATE TABLE decision (
    no       INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    at       INTEGER NOT NULL,
    json     TEXT NOT NULL
) STRICT;
INSERT INTO decision VALUES(1,'2026-11-21-api',1795219220000,'{"at":"2026-11-21T00:00:20Z","service":"api","check":{"service":"api","check":"http"},"incident":"2026-11-21-api","reason":{"reason":"opened"}}');
CREATE TABLE event (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE,
    v           INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    incident    TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    seals_at    INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    json        TEXT NOT NULL
) STRICT;
INSERT INTO event VALUES(1,X'01a1fb67662074149414141414141414',1,'opened','2026-11-21-api',1795219220000,1795219230000,1,'{"id":"01a1fb67-6620-7414-9414-141414141414","kind":"opened","incident":"2026-11-21-api","at":"2026-11-21T00:00:20Z","recorded_at":"2026-11-21T00:00:20Z","seals_at":"2026-11-21T00:00:30Z","services":["api"],"notify":true,"view":{"title":null,"root":null,"status":"investigating","impact":"critical","started_at":"2026-11-21T00:00:10Z","resolved_at":null,"affected":[{"service":"api","status":"major_outage","worst":"major_outage","started_at":"2026-11-21T00:00:10Z","recovered_at":null,"earlier_ms":0,"cause":null,"seen_failing":true}]},"update":null}');
CREATE TABLE event_service (
    service TEXT NOT NULL,
    seq     INTEGER NOT NULL REFERENCES event (seq) ON DELETE CASCADE,
    PRIMARY KEY (service, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO event_service VALUES('api',1);
CREATE TABLE probed (
    no         INTEGER PRIMARY KEY,
    service_no INTEGER NOT NULL REFERENCES service (no),
    name       TEXT NOT NULL,
    UNIQUE (service_no, name)
) STRICT;
INSERT INTO probed VALUES(1,1,'http');
CREATE TABLE result_log (
    seq        INTEGER PRIMARY KEY,
    probed_no  INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    code       INTEGER NOT NULL,
    latency_us INTEGER NOT NULL
) STRICT;
INSERT INTO result_log VALUES(61,1,1795222800000,0,500);
INSERT INTO result_log VALUES(62,1,1795222860000,0,500);
INSERT INTO result_log VALUES(63,1,1795222920000,0,500);
INSERT INTO result_log VALUES(64,1,1795222980000,0,500);
INSERT INTO result_log VALUES(65,1,1795223040000,0,500);
INSERT INTO result_log VALUES(66,1,1795223100000,0,500);
INSERT INTO result_log VALUES(67,1,1795223160000,0,500);
INSERT INTO result_log VALUES(68,1,1795223220000,0,500);
INSERT INTO result_log VALUES(69,1,1795223280000,0,500);
INSERT INTO result_log VALUES(70,1,1795223340000,0,500);
CREATE TABLE result_hour (
    hour_at   INTEGER NOT NULL,
    probed_no INTEGER NOT NULL REFERENCES probed (no),
    count     INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (hour_at, probed_no)
) STRICT;
INSERT INTO result_hour VALUES(1795219200000,1,60,1795222740000,X'010000f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403c0a90700f403');
CREATE TABLE latency (
    service_no INTEGER NOT NULL REFERENCES service (no),
    at         INTEGER NOT NULL,
    data       BLOB NOT NULL,
    PRIMARY KEY (service_no, at)
) STRICT, WITHOUT ROWID;
INSERT INTO latency VALUES(1,1795219200000,X'01005f0f');
INSERT INTO latency VALUES(1,1795220100000,X'01005f0f');
INSERT INTO latency VALUES(1,1795221000000,X'01005f0f');
INSERT INTO latency VALUES(1,1795221900000,X'01005f0f');
INSERT INTO latency VALUES(1,1795222800000,X'01005f0a');
CREATE TABLE subscriber (
    id             BLOB PRIMARY KEY,
    kind           TEXT NOT NULL,
    address        TEXT NOT NULL,
    address_key    TEXT NOT NULL UNIQUE,
    state          TEXT NOT NULL,
    services       TEXT NOT NULL,
    groups         TEXT NOT NULL,
    incidents      INTEGER NOT NULL,
    maintenance    INTEGER NOT NULL,
    min_impact     INTEGER NOT NULL,
    language       TEXT,
    timezone       TEXT,
    created_at     INTEGER NOT NULL,
    confirmed_at   INTEGER,
    suspended_at   INTEGER,
    suspend_reason TEXT,
    strikes        INTEGER NOT NULL DEFAULT 0,
    strike_day     INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO subscriber VALUES(X'01010101010101010101010101010101','mail','reader1@example.org','reader1@example.org','confirmed','[]','[]',1,1,0,NULL,NULL,1795219200000,1795219200000,NULL,NULL,0,NULL);
INSERT INTO subscriber VALUES(X'02020202020202020202020202020202','mail','reader2@example.org','reader2@example.org','confirmed','["api"]','[]',1,1,2,'de',NULL,1795219200000,1795219200000,NULL,NULL,0,NULL);
CREATE TABLE departed (
    hash    BLOB PRIMARY KEY,
    left_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO departed VALUES(X'ed2457fa9b26b5b5f3f86c5c392bfea7977299fbf9e1ea74f55e12b47e7ed3f4',1795219201000);
CREATE TABLE unwanted (
    hash  BLOB PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE delivery (
    no             INTEGER PRIMARY KEY,
    id             BLOB NOT NULL UNIQUE,
    event          BLOB NOT NULL,
    event_seq      INTEGER NOT NULL,
    incident       TEXT NOT NULL,
    recipient      TEXT NOT NULL DEFAULT 'subscriber',
    subscriber     BLOB NOT NULL,
    way            TEXT NOT NULL DEFAULT 'mail',
    state          TEXT NOT NULL,
    epoch          INTEGER,
    attempts       INTEGER NOT NULL DEFAULT 0,
    not_before     INTEGER NOT NULL,
    first_tried_at INTEGER,
    done_at        INTEGER,
    reply          TEXT,
    folded_into    BLOB,
    returned       TEXT,
    UNIQUE (event, subscriber)
) STRICT;
INSERT INTO delivery VALUES(1,X'01a1fb6766207673bd5dda6df67a2e8a',X'01a1fb67662074149414141414141414',1,'2026-11-21-api','subscriber',X'02020202020202020202020202020202','mail','sent',NULL,1,1795219230000,1795219261000,1795219261000,'250 ok',NULL,NULL);
INSERT INTO delivery VALUES(2,X'01a1fb67662077b1aaf311a440bb2cc0',X'01a1fb67662074149414141414141414',1,'2026-11-21-api','subscriber',X'01010101010101010101010101010101','mail','queued',NULL,0,1795219230000,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE fan_out (
    no         INTEGER PRIMARY KEY AUTOINCREMENT,
    event      BLOB NOT NULL UNIQUE,
    event_seq  INTEGER NOT NULL,
    incident   TEXT NOT NULL,
    services   TEXT NOT NULL,
    groups     TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    after      BLOB NOT NULL
) STRICT;
CREATE TABLE latecomer (
    subscriber BLOB PRIMARY KEY,
    since      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('event',1);
CREATE INDEX incident_started ON incident (started_at);
CREATE INDEX incident_revision ON incident (revision);
CREATE INDEX decision_incident ON decision (incident, at);
CREATE INDEX event_recorded ON event (recorded_at);
CREATE INDEX event_revision ON event (revision);
CREATE INDEX event_incident ON event (incident, seq);
CREATE INDEX event_service_seq ON event_service (seq);
CREATE INDEX delivery_open ON delivery (way, state, not_before, event_seq) WHERE done_at IS NULL;
CREATE INDEX delivery_again ON delivery (way, not_before) WHERE done_at IS NULL AND attempts > 0;
CREATE INDEX delivery_lane ON delivery (subscriber, incident, event_seq);
CREATE INDEX service_revision ON service (revision);
CREATE INDEX fan_out_incident ON fan_out (incident, event_seq);
CREATE INDEX delivery_done ON delivery (done_at) WHERE done_at IS NOT NULL;
CREATE TABLE asking (
    no   INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE TABLE allowed (
    no    INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    name  BLOB NOT NULL,
    at    INTEGER NOT NULL
) STRICT;
CREATE INDEX allowed_name ON allowed (scope, name, at);
CREATE INDEX allowed_at ON allowed (at);
CREATE TABLE letter (
    id         BLOB PRIMARY KEY,
    kind       TEXT NOT NULL,
    subscriber BLOB NOT NULL,
    way        TEXT NOT NULL DEFAULT 'mail',
    choice     TEXT NOT NULL,
    good_for   INTEGER NOT NULL,
    state      TEXT NOT NULL,
    epoch      INTEGER,
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX letter_due ON letter (way, state, not_before);
CREATE INDEX letter_subscriber ON letter (subscriber);
CREATE TABLE confirmation (
    hash       BLOB PRIMARY KEY,
    subscriber BLOB NOT NULL,
    choice     TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX confirmation_subscriber ON confirmation (subscriber);
CREATE INDEX confirmation_expires ON confirmation (expires_at);
CREATE INDEX incident_open ON incident (id) WHERE resolved_at IS NULL;
CREATE INDEX delivery_returned ON delivery (event) WHERE returned IS NOT NULL;
CREATE INDEX delivery_folded ON delivery (folded_into) WHERE folded_into IS NOT NULL AND done_at IS NULL;
CREATE TABLE notice (
    key     TEXT PRIMARY KEY,
    at      INTEGER NOT NULL,
    subject TEXT NOT NULL,
    text    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
COMMIT;
