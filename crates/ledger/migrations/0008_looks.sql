-- How many checkpoints a writer made: one that is gone shows. Writers from before
-- this did not count.
ALTER TABLE writers ADD COLUMN checkpoints INTEGER;

-- Records by the time they began, for exports and listings.
CREATE INDEX grants_newest ON grants (claimed_at, seq);
CREATE INDEX spends_newest ON spends (reserved_at, seq);
