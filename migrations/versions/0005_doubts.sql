-- Another run of Redis that continues the ledger may lack what came after it: a doubt, until the
-- event stream has been replayed. Counted, so that a replay settles those it began after, and no
-- later one.

ALTER TABLE positions
    ADD COLUMN doubts         bigint NOT NULL DEFAULT 0,
    ADD COLUMN doubts_settled bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN positions.doubts IS
    'How often Redis may have lost what it had beyond the ledger.';
COMMENT ON COLUMN positions.doubts_settled IS
    'For so many of them the event stream has been replayed, and what came of it is here.';
