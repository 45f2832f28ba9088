-- Calls that changed master data, or asked for a reconciliation, under an Idempotency-Key: a repeat
-- finds its row here, and changes nothing. What the window has left behind is deleted by later calls.

CREATE TABLE keyed_calls (
    call    text        NOT NULL COLLATE "C",
    subject text        NOT NULL COLLATE "C",
    key     text        NOT NULL COLLATE "C",
    at      timestamptz NOT NULL DEFAULT now(),
    came_to text        NOT NULL DEFAULT '',
    PRIMARY KEY (call, subject, key)
);

CREATE INDEX keyed_calls_by_age ON keyed_calls (at);

COMMENT ON COLUMN keyed_calls.came_to IS
    'What a repeat can read nowhere else: the record that was deleted, the run that was asked for.';
