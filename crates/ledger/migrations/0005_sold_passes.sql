
-- What pass a grant pays for, as it was sold: it is issued so, whatever is sold
-- by then.
ALTER TABLE grants ADD COLUMN pass TEXT;

-- Whether the seller took it back, and the UTC day on which its promise was lost.
ALTER TABLE passes ADD COLUMN is_withdrawn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE passes ADD COLUMN lost_on INTEGER;

-- What was promised and never paid, by UTC day and payer; the whole has no payer.
CREATE TABLE losses (
    network TEXT NOT NULL,
    asset   TEXT NOT NULL,
    payer   TEXT NOT NULL,
    day     INTEGER NOT NULL,
    amount  TEXT NOT NULL,
    PRIMARY KEY (network, asset, payer, day)
) STRICT;
CREATE INDEX losses_by_day ON losses (day);

-- Which keys sign tokens, by their digests: the one in use, and those before it.
CREATE TABLE token_keys (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    is_current  INTEGER NOT NULL CHECK (is_current IN (0, 1)),
    used_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX notices_by_age ON notices (at);
