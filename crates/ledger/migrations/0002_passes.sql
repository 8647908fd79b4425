
-- Passes: what may be used again without paying again. The presentation is kept
-- while the payment is to be settled in the background, and then forgotten.
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
) STRICT;
CREATE INDEX passes_expired ON passes (expires_at);

-- What is promised and not settled, by payer; the whole has no payer.
CREATE TABLE exposures (
    network TEXT NOT NULL,
    asset   TEXT NOT NULL,
    payer   TEXT NOT NULL,
    amount  TEXT NOT NULL,
    PRIMARY KEY (network, asset, payer)
) STRICT;

-- Passes that may no longer be trusted unread, in the order of their commits.
CREATE TABLE revocations (
    seq        INTEGER NOT NULL PRIMARY KEY,
    pass       TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_expired ON revocations (expires_at);
INSERT INTO meta (name, value) VALUES ('revocations', 0);

-- What is still to be told to the seller's own server.
CREATE TABLE notices (
    id       TEXT NOT NULL PRIMARY KEY,
    kind     TEXT NOT NULL,
    body     TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX notices_due ON notices (due_at, id);
