-- Stories are append-only.
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

-- Written and emptied again to learn whether a full disk takes writes.
CREATE TABLE probes (
    id    INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
