
-- Which key with limits of its own signs a spend, such as a session's.
ALTER TABLE spends ADD COLUMN limited_key TEXT;
