CREATE INDEX answers_by_age ON answers (stored_at);

CREATE INDEX events_by_subject ON events (subject, id);

CREATE INDEX grants_by_identifier ON grants (payment_identifier, seq)
    WHERE payment_identifier IS NOT NULL;

CREATE INDEX grants_by_identity ON grants (identity, seq);

CREATE UNIQUE INDEX grants_identifier ON grants (payment_identifier)
    WHERE reclaimable = 0 AND payment_identifier IS NOT NULL;

CREATE UNIQUE INDEX grants_identity ON grants (identity) WHERE reclaimable = 0;

CREATE INDEX grants_newest ON grants (claimed_at, seq);

CREATE INDEX grants_of_payer ON grants (from_account, claimed_at, seq);

CREATE INDEX grants_of_route ON grants (route, claimed_at, seq);

CREATE INDEX grants_open ON grants (from_account, asset) WHERE is_open = 1;

CREATE INDEX grants_reclaimable ON grants (updated_at) WHERE reclaimable = 1;

CREATE INDEX grants_refused ON grants (claimed_at, seq, refusal_code) WHERE state = 'refused';

CREATE INDEX grants_released
    ON grants (claimed_at, seq, route, network, asset, amount, from_account, updated_at)
    WHERE state = 'released';

CREATE INDEX losses_by_day ON losses (day);

CREATE INDEX notices_by_age ON notices (at);

CREATE INDEX notices_due ON notices (due_at, id);

CREATE INDEX passes_expired ON passes (expires_at);

CREATE INDEX payments_failed ON payments (accepted_at, seq)
    WHERE state IN ('refused', 'expired');

CREATE INDEX payments_newest ON payments (accepted_at, seq);

CREATE INDEX payments_of_payer ON payments (from_account, accepted_at, seq);

CREATE INDEX payments_open ON payments (from_account, asset) WHERE is_open = 1;

CREATE INDEX payments_settled
    ON payments (accepted_at, seq, network, asset, amount, from_account, updated_at)
    WHERE state = 'settled';

CREATE INDEX payments_watched ON payments (network, id) WHERE is_watched = 1;

CREATE INDEX revocations_expired ON revocations (expires_at);

CREATE INDEX sign_ins_kept ON sign_ins (kept_until);

CREATE INDEX slots_open ON slots (network, signer, nonce) WHERE closed = 0;

CREATE INDEX spends_at_host ON spends (agent, host, seq);

CREATE INDEX spends_at_url ON spends (agent, url, seq);

CREATE INDEX spends_newest ON spends (reserved_at, seq);

CREATE INDEX spends_of_agent ON spends (agent, seq);

CREATE INDEX spends_open ON spends (account, seq) WHERE is_open = 1;

CREATE INDEX spends_open_request ON spends (account, request, seq) WHERE is_open = 1;

CREATE TABLE answers (
    grant_id  TEXT NOT NULL PRIMARY KEY REFERENCES grants (id),
    status    INTEGER NOT NULL,
    headers   TEXT NOT NULL,
    body      BLOB NOT NULL,
    stored_at INTEGER NOT NULL
) STRICT;

CREATE TABLE checkpoints (
    writer TEXT NOT NULL REFERENCES writers (writer),
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    hash   TEXT NOT NULL,
    PRIMARY KEY (writer, seq)
) STRICT;

CREATE TABLE events (
    id      INTEGER PRIMARY KEY,
    writer  TEXT NOT NULL REFERENCES writers (writer),
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    subject TEXT NOT NULL,
    kind    TEXT NOT NULL,
    data    TEXT NOT NULL,
    hash    TEXT NOT NULL,
    UNIQUE (writer, seq)
) STRICT;

CREATE TABLE exposures (
    network TEXT NOT NULL,
    asset   TEXT NOT NULL,
    payer   TEXT NOT NULL,
    amount  TEXT NOT NULL,
    PRIMARY KEY (network, asset, payer)
) STRICT;

CREATE TABLE gas (
    network TEXT NOT NULL,
    payer   TEXT NOT NULL,
    day     INTEGER NOT NULL,
    fee     TEXT NOT NULL,
    lost    TEXT NOT NULL,
    PRIMARY KEY (network, payer, day)
) STRICT;

CREATE TABLE grants (
    seq                INTEGER PRIMARY KEY,
    id                 TEXT NOT NULL UNIQUE,
    identity           BLOB NOT NULL,
    network            TEXT NOT NULL,
    scope              TEXT NOT NULL,
    payer              TEXT NOT NULL,
    nonce              TEXT NOT NULL,
    asset              TEXT NOT NULL,
    from_account       TEXT NOT NULL,
    to_account         TEXT NOT NULL,
    amount             TEXT NOT NULL,
    deadline           INTEGER NOT NULL,
    route              TEXT NOT NULL,
    method             TEXT NOT NULL,
    url                TEXT NOT NULL,
    body_digest        TEXT NOT NULL,
    payload_digest     TEXT NOT NULL,
    payment_identifier TEXT,
    flow               TEXT NOT NULL,
    owner              TEXT NOT NULL,
    state              TEXT NOT NULL
        CHECK (state IN ('claimed', 'served', 'settling', 'released', 'refused')),
    is_open            INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    settling_at        INTEGER,
    evidence           TEXT,
    receipt            TEXT,
    refusal_code       TEXT,
    refusal_message    TEXT,
    reclaimable        INTEGER NOT NULL CHECK (reclaimable IN (0, 1)),
    claimed_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL
, pass TEXT) STRICT;

CREATE TABLE leases (
    network   TEXT NOT NULL,
    signer    TEXT NOT NULL,
    replica   TEXT REFERENCES replicas (id),
    epoch     INTEGER NOT NULL,
    leased_at INTEGER NOT NULL,
    PRIMARY KEY (network, signer)
) STRICT;

CREATE TABLE losses (
    network TEXT NOT NULL,
    asset   TEXT NOT NULL,
    payer   TEXT NOT NULL,
    day     INTEGER NOT NULL,
    amount  TEXT NOT NULL,
    PRIMARY KEY (network, asset, payer, day)
) STRICT;

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE meters (
    grant_id     TEXT NOT NULL PRIMARY KEY,
    permitted    TEXT NOT NULL,
    is_promised  INTEGER NOT NULL CHECK (is_promised IN (0, 1)),
    payload      TEXT,
    requirements TEXT
) STRICT;

CREATE TABLE notices (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    body     TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

CREATE TABLE passes (
    id             TEXT NOT NULL PRIMARY KEY,
    grant_id       TEXT NOT NULL UNIQUE,
    identity       BLOB NOT NULL UNIQUE,
    network        TEXT NOT NULL,
    payer          TEXT NOT NULL,
    asset          TEXT NOT NULL,
    amount         TEXT NOT NULL,
    audience       TEXT NOT NULL,
    quota          INTEGER,
    uses_left      INTEGER,
    deadline       INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    is_settled     INTEGER NOT NULL CHECK (is_settled IN (0, 1)),
    payload        TEXT,
    requirements   TEXT,
    is_told        INTEGER NOT NULL CHECK (is_told IN (0, 1)),
    issued_at      INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
, is_withdrawn INTEGER NOT NULL DEFAULT 0, lost_on INTEGER) STRICT;

CREATE TABLE payments (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    identity        BLOB NOT NULL UNIQUE,
    network         TEXT NOT NULL,
    scope           TEXT NOT NULL,
    payer           TEXT NOT NULL,
    nonce           TEXT NOT NULL,
    asset           TEXT NOT NULL,
    from_account    TEXT NOT NULL,
    to_account      TEXT NOT NULL,
    amount          TEXT NOT NULL,
    deadline        INTEGER NOT NULL,
    settlement      TEXT NOT NULL,
    finality        TEXT NOT NULL,
    payload         TEXT NOT NULL,
    requirements    TEXT,
    caller          TEXT,
    opener          TEXT,
    replica         TEXT,
    state           TEXT NOT NULL
        CHECK (state IN ('accepted', 'submitted', 'settled', 'refused', 'expired')),
    is_open         INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    is_watched      INTEGER NOT NULL CHECK (is_watched IN (0, 1)),
    attempts        INTEGER NOT NULL,
    slot_network    TEXT,
    slot_signer     TEXT,
    slot_nonce      INTEGER,
    transaction_id  TEXT,
    settled         TEXT,
    refusal_code    TEXT,
    refusal_message TEXT,
    handed_out_at   INTEGER,
    handed_out_key  TEXT,
    accepted_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE probes (
    id    INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE purse_marks (
    purse    INTEGER NOT NULL REFERENCES purses (id),
    at       INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    total    TEXT NOT NULL,
    PRIMARY KEY (purse, at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE purses (
    id      INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    network TEXT NOT NULL,
    asset   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    paid    TEXT NOT NULL,
    held    TEXT NOT NULL,
    UNIQUE (account, network, asset, kind, name)
) STRICT;

CREATE TABLE replicas (
    id          TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    alive_until INTEGER NOT NULL,
    joined_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE revocations (
    seq        INTEGER NOT NULL PRIMARY KEY,
    pass       TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sign_ins (
    nonce      TEXT NOT NULL PRIMARY KEY,
    kept_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE slot_raws (
    network  TEXT NOT NULL,
    signer   TEXT NOT NULL,
    nonce    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     TEXT NOT NULL,
    bytes    BLOB NOT NULL,
    PRIMARY KEY (network, signer, nonce, position),
    UNIQUE (network, hash),
    FOREIGN KEY (network, signer, nonce) REFERENCES slots (network, signer, nonce)
) STRICT;

CREATE TABLE slots (
    network      TEXT NOT NULL,
    signer       TEXT NOT NULL,
    nonce        INTEGER NOT NULL,
    raws         INTEGER NOT NULL,
    payments     TEXT NOT NULL,
    closed       INTEGER NOT NULL CHECK (closed IN (0, 1)),
    allocated_at INTEGER NOT NULL,
    PRIMARY KEY (network, signer, nonce)
) STRICT;

CREATE TABLE spends (
    seq               INTEGER PRIMARY KEY,
    id                TEXT NOT NULL UNIQUE,
    account           TEXT NOT NULL,
    agent             TEXT NOT NULL,
    request           TEXT NOT NULL,
    url               TEXT NOT NULL,
    host              TEXT NOT NULL,
    payee             TEXT NOT NULL,
    network           TEXT NOT NULL,
    asset             TEXT NOT NULL,
    amount            TEXT NOT NULL,
    state             TEXT NOT NULL
        CHECK (state IN ('reserved', 'signed', 'presented', 'unknown', 'paid', 'released')),
    is_open           INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    identity          TEXT UNIQUE,
    identity_scope    TEXT,
    identity_payer    TEXT,
    identity_nonce    TEXT,
    identity_network  TEXT,
    payload           TEXT,
    valid_until       INTEGER,
    raw_hash          TEXT,
    raw_bytes         BLOB,
    paid              TEXT,
    transaction_id    TEXT,
    reason            TEXT,
    reserved_at       INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL
, limited_key TEXT, decimals INTEGER, calls INTEGER) STRICT;

CREATE TABLE tallies (
    hour   INTEGER NOT NULL,
    route  TEXT NOT NULL,
    what   TEXT NOT NULL,
    times  INTEGER NOT NULL,
    PRIMARY KEY (hour, route, what)
) STRICT, WITHOUT ROWID;

CREATE TABLE token_keys (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    is_current  INTEGER NOT NULL CHECK (is_current IN (0, 1)),
    used_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE transfers (
    network        TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    log_index      INTEGER NOT NULL,
    payment        TEXT NOT NULL,
    PRIMARY KEY (network, transaction_id, log_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE writers (
    writer         TEXT NOT NULL PRIMARY KEY,
    follows_writer TEXT NOT NULL,
    follows_seq    INTEGER NOT NULL,
    follows_hash   TEXT NOT NULL,
    opened_at      INTEGER NOT NULL
, checkpoints INTEGER) STRICT;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
