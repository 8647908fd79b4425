
-- Grants that are charged by what is handed out: what was permitted, and what is
-- to be settled in the end, which is then forgotten.
CREATE TABLE meters (
    grant_id     TEXT NOT NULL PRIMARY KEY,
    permitted    TEXT NOT NULL,
    is_promised  INTEGER NOT NULL CHECK (is_promised IN (0, 1)),
    payload      TEXT,
    requirements TEXT
) STRICT;
