-- What proving and rebuilding need beside the entries.

-- A level's image, as Redis keeps it, and what its deltas come to: on_hand is the same number
-- unless somebody has changed the level behind the script's back.

ALTER TABLE levels
    ADD COLUMN document bytea,
    ADD COLUMN folded   bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN levels.folded IS 'The sum of the level''s on_hand_delta.';

UPDATE levels
SET folded = moved.units
FROM (
    SELECT sku, location, sum(on_hand_delta) AS units
    FROM movements
    GROUP BY sku, location
) AS moved
WHERE (levels.sku, levels.location) = (moved.sku, moved.location);

ALTER TABLE levels ALTER COLUMN folded DROP DEFAULT;

-- A version may come twice, where somebody has set it back by hand; an entry touches a level once.

ALTER TABLE movements
    DROP CONSTRAINT movements_pkey,
    ADD PRIMARY KEY (sku, location, seq);

-- What sources believed, line by line; `difference` is theirs less ours, as of that moment.

CREATE TABLE snapshot_lines (
    partition  integer     NOT NULL,
    seq        bigint      NOT NULL,
    believed   bigint      NOT NULL,
    difference bigint      NOT NULL,
    taken_at   timestamptz NOT NULL,
    source     text        NOT NULL COLLATE "C",
    location   text        NOT NULL COLLATE "C",
    sku        text        NOT NULL COLLATE "C",
    policy     text        NOT NULL COLLATE "C",
    PRIMARY KEY (source, location, taken_at, sku, seq)
);

COMMENT ON COLUMN snapshot_lines.policy IS
    'What became of a difference: correct, review or report; within where it was tolerated, outdated '
    'where units were counted later, so that nothing was compared.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON snapshot_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What Redis must still have is walked in order, in pages: open reservations, those closed within
-- the dedupe window, and orders changed within it.

DROP INDEX reservations_open;

CREATE INDEX reservations_open ON reservations (reservation_id) WHERE closed_at IS NULL;

CREATE INDEX reservations_closed ON reservations (closed_at, reservation_id)
    WHERE closed_at IS NOT NULL;

CREATE INDEX orders_by_seq ON orders (partition, seq);

-- A trace asks for what was opened about an order, reservation or document.

CREATE INDEX exceptions_by_reference ON exceptions (reference) WHERE reference <> '';

-- Reconciliations: asked for, run, and what they found.

CREATE TABLE reconciliations (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status       text        NOT NULL COLLATE "C"
        CHECK (status IN ('requested', 'running', 'done', 'failed')),
    scope        jsonb       NOT NULL,
    repair       boolean     NOT NULL,
    asked_by     text        NOT NULL COLLATE "C",
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    finished_at  timestamptz,
    report       jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX reconciliations_to_do ON reconciliations (id) WHERE status IN ('requested', 'running');

-- Rebuilds: why, since when, and what has been done. One that was broken off is begun anew.

CREATE TABLE rebuilds (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition   integer     NOT NULL,
    epoch       bigint      NOT NULL,
    from_seq    bigint      NOT NULL,
    reason      text        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    opened_at   timestamptz,
    replayed_at timestamptz,
    report      jsonb       NOT NULL DEFAULT '{}',
    UNIQUE (partition, epoch)
);

COMMENT ON COLUMN rebuilds.epoch IS 'The epoch it opens.';

-- What a Redis that left the ledger had acknowledged on its own, saved before it is emptied.

CREATE TABLE forks (
    partition integer     NOT NULL,
    epoch     bigint      NOT NULL,
    seq       bigint      NOT NULL,
    digest    text        NOT NULL COLLATE "C",
    command   bytea       NOT NULL,
    head      bytea       NOT NULL,
    images    bytea       NOT NULL,
    saved_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, epoch, seq, digest)
);

COMMENT ON COLUMN forks.epoch IS 'The epoch that was raised because of it.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON forks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Master data as it was: a past number is explained with the policies of its time.

CREATE TABLE catalog_history (
    kind     text        NOT NULL COLLATE "C",
    id       text        NOT NULL COLLATE "C",
    at       timestamptz NOT NULL,
    document jsonb,
    PRIMARY KEY (kind, id, at)
);

COMMENT ON COLUMN catalog_history.document IS 'Null: deleted then.';

CREATE FUNCTION keep_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO catalog_history (kind, id, at, document)
    VALUES (TG_TABLE_NAME, coalesce(NEW.id, OLD.id), clock_timestamp(), NEW.document)
    ON CONFLICT (kind, id, at) DO UPDATE SET document = excluded.document;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_history AFTER INSERT OR UPDATE OR DELETE ON locations
    FOR EACH ROW EXECUTE FUNCTION keep_history();
CREATE TRIGGER keep_history AFTER INSERT OR UPDATE OR DELETE ON channels
    FOR EACH ROW EXECUTE FUNCTION keep_history();

INSERT INTO catalog_history (kind, id, at, document)
SELECT 'locations', id, updated_at, document FROM locations
UNION ALL
SELECT 'channels', id, updated_at, document FROM channels;
