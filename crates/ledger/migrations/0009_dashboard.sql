-- Sums over time without reading whole rows; listings by payer, route and state.
CREATE INDEX payments_settled
    ON payments (accepted_at, seq, network, asset, amount, from_account, updated_at)
    WHERE state = 'settled';
CREATE INDEX payments_of_payer ON payments (from_account, accepted_at, seq);
CREATE INDEX grants_released
    ON grants (claimed_at, seq, route, network, asset, amount, from_account, updated_at)
    WHERE state = 'released';
CREATE INDEX grants_refused ON grants (claimed_at, seq, refusal_code) WHERE state = 'refused';
CREATE INDEX grants_of_payer ON grants (from_account, claimed_at, seq);
CREATE INDEX grants_of_route ON grants (route, claimed_at, seq);

-- What is answered and never becomes a record, such as a 402: how often in each
-- hour since 1970. Counted in memory and written now and then, so that a crash
-- loses the last seconds of it: it is no money.
CREATE TABLE tallies (
    hour   INTEGER NOT NULL,
    route  TEXT NOT NULL,
    what   TEXT NOT NULL,
    times  INTEGER NOT NULL,
    PRIMARY KEY (hour, route, what)
) STRICT, WITHOUT ROWID;
