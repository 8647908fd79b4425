
-- Which payment a Transfer log settled, by its place among the logs of its
-- transaction: each log one payment.
CREATE TABLE transfers (
    network        TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    log_index      INTEGER NOT NULL,
    payment        TEXT NOT NULL,
    PRIMARY KEY (network, transaction_id, log_index)
) STRICT, WITHOUT ROWID;
