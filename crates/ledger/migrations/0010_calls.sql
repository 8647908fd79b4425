
-- Calls that a key makes by one execution, where it is one and no payment.
ALTER TABLE spends ADD COLUMN calls INTEGER;
