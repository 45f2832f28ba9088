-- How far an event stream is in the ledger: a recovery replays what comes after it.

CREATE TABLE streams_recorded (
    partition  integer     NOT NULL,
    stream     text        NOT NULL COLLATE "C",
    created_at timestamptz NOT NULL,
    seq        bigint      NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, stream)
);

COMMENT ON COLUMN streams_recorded.seq IS
    'Each event up to here that was acknowledged is in the ledger.';
COMMENT ON COLUMN streams_recorded.created_at IS
    'When the stream was made: one that is made anew counts from 1 again.';
