-- The first schema. Instants are milliseconds since 1970 UTC; JSON is text; ids of ours are the
-- sixteen bytes of a UUIDv7. What is never released may change here; afterwards only in v2.sql.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- What the judge goes on from after a restart.
CREATE TABLE world (
    key  TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every service that ever was. One that left the config has no position any more, but keeps its
-- name and its group: people may still follow it. `revision`, here and below, is that of the last
-- change, so that whoever knows an earlier one reads no more than what is new.
CREATE TABLE service (
    no       INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    grp      TEXT,
    name     TEXT NOT NULL,
    position INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX service_revision ON service (revision);

CREATE TABLE service_now (
    service        TEXT PRIMARY KEY,
    status         TEXT NOT NULL,
    since_at       INTEGER NOT NULL,
    checks_up      INTEGER NOT NULL,
    checks_known   INTEGER NOT NULL,
    last_result_at INTEGER
) STRICT, WITHOUT ROWID;

-- How a service was, end to end; only the last one is open.
CREATE TABLE span (
    service TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    to_at   INTEGER,
    status  TEXT NOT NULL,
    PRIMARY KEY (service, from_at)
) STRICT, WITHOUT ROWID;

-- What an operator says that time counts as: laid over the spans when they are read, which stay as
-- they were measured. `why` is JSON: a text, or texts by language.
CREATE TABLE correction (
    service  TEXT NOT NULL,
    from_at  INTEGER NOT NULL,
    to_at    INTEGER NOT NULL,
    count_as TEXT NOT NULL,
    why      TEXT NOT NULL,
    PRIMARY KEY (service, from_at)
) STRICT, WITHOUT ROWID;

-- Columns for lists, JSON for the whole.
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
CREATE INDEX incident_started ON incident (started_at);
CREATE INDEX incident_revision ON incident (revision);
CREATE INDEX incident_open ON incident (id) WHERE resolved_at IS NULL;

CREATE TABLE decision (
    no       INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    at       INTEGER NOT NULL,
    json     TEXT NOT NULL
) STRICT;
CREATE INDEX decision_incident ON decision (incident, at);

-- The log of what happened. `seq` is the order of recording, for feeds and for each reader.
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
CREATE INDEX event_recorded ON event (recorded_at);
CREATE INDEX event_revision ON event (revision);
CREATE INDEX event_incident ON event (incident, seq);

CREATE TABLE event_service (
    service TEXT NOT NULL,
    seq     INTEGER NOT NULL REFERENCES event (seq) ON DELETE CASCADE,
    PRIMARY KEY (service, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_service_seq ON event_service (seq);

-- A short name for a check, since its results are many.
CREATE TABLE probed (
    no         INTEGER PRIMARY KEY,
    service_no INTEGER NOT NULL REFERENCES service (no),
    name       TEXT NOT NULL,
    UNIQUE (service_no, name)
) STRICT;

-- Results as they come, in the order of coming: the cheapest thing to append to.
CREATE TABLE result_log (
    seq        INTEGER PRIMARY KEY,
    probed_no  INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    code       INTEGER NOT NULL,
    latency_us INTEGER NOT NULL
) STRICT;

-- The same, sealed: one row for each check and hour (UTC), packed.
CREATE TABLE result_hour (
    hour_at   INTEGER NOT NULL,
    probed_no INTEGER NOT NULL REFERENCES probed (no),
    count     INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (hour_at, probed_no)
) STRICT;

-- Response times of good answers, for each service and quarter of an hour (UTC). Kept for ever.
CREATE TABLE latency (
    service_no INTEGER NOT NULL REFERENCES service (no),
    at         INTEGER NOT NULL,
    data       BLOB NOT NULL,
    PRIMARY KEY (service_no, at)
) STRICT, WITHOUT ROWID;

-- `kind` is the way, `mail` or `webhook`; `address_key` is the address as it is compared. `services` and
-- `groups` are JSON arrays of ids; both empty: everything.
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

-- Who left lately, as a salted hash: an old list must not bring them back.
CREATE TABLE departed (
    hash    BLOB PRIMARY KEY,
    left_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who said that nobody is to ask them again, as a salted hash of their mailbox.
CREATE TABLE unwanted (
    hash  BLOB PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One event for one recipient. `recipient` says what `subscriber` names, `way` how it leaves: by mail
-- or webhook, each of which has a queue of its own, so that neither waits for the other. `folded_into` is the delivery
-- in whose message it was told; of one that is not told, that in whose message it left, if nobody
-- knows what became of that. `returned` says of what was sent and then came back how the server that
-- refused it is to be understood; `done_at` stays when it had left.
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
CREATE INDEX delivery_open ON delivery (way, state, not_before, event_seq) WHERE done_at IS NULL;
CREATE INDEX delivery_again ON delivery (way, not_before) WHERE done_at IS NULL AND attempts > 0;
CREATE INDEX delivery_lane ON delivery (subscriber, incident, event_seq);
CREATE INDEX delivery_done ON delivery (done_at) WHERE done_at IS NOT NULL;
CREATE INDEX delivery_returned ON delivery (event) WHERE returned IS NOT NULL;
CREATE INDEX delivery_folded ON delivery (folded_into) WHERE folded_into IS NOT NULL AND done_at IS NULL;

-- Events that not everyone has a delivery of yet who is to be told: whoever follows `services` or
-- `groups`, and comes behind `after`. It is worked off in slices, once `not_before` has come.
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
CREATE INDEX fan_out_incident ON fan_out (incident, event_seq);

-- Who came or chose anew while that went on: up to the fan-out `since` all is settled for them.
CREATE TABLE latecomer (
    subscriber BLOB PRIMARY KEY,
    since      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What people asked for through the form, until it is looked at moments later: whoever asks is
-- answered before that, so that the answer says nothing of the address. JSON: an `Asking`.
CREATE TABLE asking (
    no   INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    json TEXT NOT NULL
) STRICT;

-- What was let through lately, for the limits: in which scope, whose (`name`, a salted hash), when.
CREATE TABLE allowed (
    no    INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    name  BLOB NOT NULL,
    at    INTEGER NOT NULL
) STRICT;
CREATE INDEX allowed_name ON allowed (scope, name, at);
CREATE INDEX allowed_at ON allowed (at);

-- Messages to one subscriber that tell of no event, until they are sent or given up. `choice` is what
-- was asked for; `good_for` how long the link in it is good, in milliseconds. A delivery whose
-- `folded_into` names a letter is told by that.
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

-- Links that confirm: a hash of what only the mail knows, and what was asked for in that mail.
CREATE TABLE confirmation (
    hash       BLOB PRIMARY KEY,
    subscriber BLOB NOT NULL,
    choice     TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX confirmation_subscriber ON confirmation (subscriber);
CREATE INDEX confirmation_expires ON confirmation (expires_at);

-- What a command has for the operator: the daemon takes it from here and tells it.
CREATE TABLE notice (
    key     TEXT PRIMARY KEY,
    at      INTEGER NOT NULL,
    subject TEXT NOT NULL,
    text    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
