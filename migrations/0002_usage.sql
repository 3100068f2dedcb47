-- What makes usage rows a ledger: they are only added to, chained, and summed by the hour.

CREATE TRIGGER usage_keeps_rows BEFORE DELETE ON usage
  BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER usage_keeps_text BEFORE UPDATE ON usage
  BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE INDEX usage_by_time ON usage (time, id);
CREATE INDEX usage_by_org ON usage (org_id, time, id);
CREATE INDEX usage_by_user ON usage (user_id, time, id);

-- One link for each row, in the order of arrival: hash = BLAKE2b(hash of seq - 1, hash of the price
-- version, the row's fields). form says which list of fields; flag what was wrong with the row.
CREATE TABLE usage_chain (
    seq INTEGER PRIMARY KEY,
    usage_id TEXT NOT NULL UNIQUE,
    form INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    flag TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

-- What a price version said when its first row came.
CREATE TABLE usage_price (
    price_id TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

-- Sums by the hour. A cost is cost_units whole units of the currency and cost_pico of 10^-12: no sum
-- of costs can pass 63 bits before it passes 9 * 10^18 whole units, and SQLite adds both exactly.
CREATE TABLE usage_hour (
    hour INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    currency TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL CHECK (cost_pico BETWEEN 0 AND 999999999999),
    PRIMARY KEY (org_id, hour, user_id, key_id, deployment_id, model, outcome, currency)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_hour_by_hour ON usage_hour (hour);

-- How far into each gateway's journal the rows above reach.
CREATE TABLE usage_applied (
    gateway TEXT NOT NULL PRIMARY KEY,
    segment INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
