
-- By the buyer's own table: what a spend counts in budgets that span assets.
ALTER TABLE spends ADD COLUMN decimals INTEGER;

-- What an agent paid before at a host, and at a URL.
CREATE INDEX spends_of_agent ON spends (agent, seq);
CREATE INDEX spends_at_host ON spends (agent, host, seq);
CREATE INDEX spends_at_url ON spends (agent, url, seq);
