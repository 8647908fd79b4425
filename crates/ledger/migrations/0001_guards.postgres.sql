-- Stories are append-only.
CREATE FUNCTION events_are_append_only() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only';
END
$$ LANGUAGE plpgsql;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_are_append_only();

-- How many groups each writer committed: what a writer asks whose connection
-- broke during a commit.
CREATE TABLE writer_marks (
    writer  TEXT NOT NULL PRIMARY KEY,
    commits BIGINT NOT NULL,
    fences  BIGINT NOT NULL
);
