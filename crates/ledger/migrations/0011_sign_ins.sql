
-- Messages that payers signed to come back, each of which opens one answer; forgotten
-- when they are too old to be shown.
CREATE TABLE sign_ins (
    nonce      TEXT NOT NULL PRIMARY KEY,
    kept_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_kept ON sign_ins (kept_until);
