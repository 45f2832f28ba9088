-- The ledger: what happened, for ever, and what follows from it.
--
-- One recorder per partition writes it, always a whole transaction: entries, movements, events and
-- traces are appended, the projections brought up to date, and the position moved on from exactly
-- where it was. Ids compare by bytes (COLLATE "C"): that is what Redis does, and it is faster.

CREATE TABLE positions (
    partition   integer     PRIMARY KEY,
    epoch       bigint      NOT NULL,
    seq         bigint      NOT NULL,
    digest      text        NOT NULL,
    chain       bytea       NOT NULL,
    run_id      text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

COMMENT ON TABLE positions IS 'How far each partition is recorded; moved by compare-and-set.';

-- Entries. `command`, `head` and each value in `images` are the bytes of the journal in Redis;
-- `images` is a msgpack array of [name, value]. `chain` is the SHA-256 of the chain before and all
-- other columns as binary COPY writes them, each with its length.

CREATE TABLE entries (
    partition integer     NOT NULL,
    seq       bigint      NOT NULL,
    epoch     bigint      NOT NULL,
    at        timestamptz NOT NULL,
    kind      text        NOT NULL COLLATE "C",
    command   bytea       NOT NULL,
    head      bytea       NOT NULL,
    images    bytea       NOT NULL,
    digest    text        NOT NULL COLLATE "C",
    chain     bytea       NOT NULL,
    PRIMARY KEY (partition, seq)
) PARTITION BY RANGE (seq);

COMMENT ON TABLE entries IS 'The journal, gapless and hash-chained per partition.';

CREATE TABLE slices (
    name     text   PRIMARY KEY,
    from_seq bigint NOT NULL UNIQUE,
    to_seq   bigint NOT NULL UNIQUE,
    CHECK (from_seq < to_seq)
);

COMMENT ON TABLE slices IS 'The tables that entries is made of; from_seq is in, to_seq is not.';

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The service's role owns nothing, so slices are made on its behalf. A statement trigger of the
-- parent doesn't fire for a statement that names the slice: each slice has its own.

CREATE FUNCTION make_slices(through_seq bigint, slice_size bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    next_seq bigint;
    slice    text;
    made     integer := 0;
BEGIN
    IF slice_size < 1 THEN
        RAISE EXCEPTION 'a slice holds at least one entry, not %', slice_size;
    END IF;
    IF EXISTS (SELECT FROM slices WHERE to_seq > through_seq) THEN
        RETURN 0;
    END IF;
    LOCK TABLE slices IN SHARE ROW EXCLUSIVE MODE;
    SELECT coalesce(max(to_seq), 0) INTO next_seq FROM slices;
    WHILE next_seq <= through_seq LOOP
        slice := format('entries_from_%s', next_seq);
        EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING ALL)', slice);
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                 FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', slice);
        EXECUTE format(
            'ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            slice, next_seq, next_seq + slice_size);
        INSERT INTO slices VALUES (slice, next_seq, next_seq + slice_size);
        next_seq := next_seq + slice_size;
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

REVOKE ALL ON FUNCTION make_slices FROM PUBLIC;

-- Movements: one row per level an entry touched, with the level's numbers afterwards.

CREATE TABLE movements (
    partition     integer     NOT NULL,
    seq           bigint      NOT NULL,
    version       bigint      NOT NULL,
    on_hand_delta bigint      NOT NULL,
    on_hand       bigint      NOT NULL,
    reserved      bigint      NOT NULL,
    allocated     bigint      NOT NULL,
    unavailable   bigint      NOT NULL,
    occurred_at   timestamptz NOT NULL,
    at            timestamptz NOT NULL,
    safety_stock  bigint,
    sku           text        NOT NULL COLLATE "C",
    location      text        NOT NULL COLLATE "C",
    kind          text        NOT NULL COLLATE "C",
    PRIMARY KEY (sku, location, version)
);

COMMENT ON COLUMN movements.occurred_at IS 'When the fact happened; else when it was entered.';
COMMENT ON COLUMN movements.safety_stock IS 'The level''s own; null where the channel''s applies.';

-- What a count adds up: the changes of on_hand after a moment. Holds change none.
CREATE INDEX movements_of_on_hand ON movements (sku, location, occurred_at)
    INCLUDE (on_hand_delta)
    WHERE on_hand_delta <> 0;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Events by their own ids; the id comes first, so that it can be looked for without its source.

CREATE TABLE events (
    partition integer NOT NULL,
    seq       bigint  NOT NULL,
    source    text    NOT NULL COLLATE "C",
    event_id  text    NOT NULL COLLATE "C",
    status    text    NOT NULL COLLATE "C" CHECK (status IN ('applied', 'absorbed', 'parked')),
    PRIMARY KEY (event_id, source)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Which entries speak of a reservation, order, shipment or document.

CREATE TABLE traces (
    partition integer NOT NULL,
    seq       bigint  NOT NULL,
    ref       text    NOT NULL COLLATE "C",
    PRIMARY KEY (ref, partition, seq)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON traces
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Projections: the last image of each thing. `document` is the image's own bytes.

CREATE TABLE levels (
    partition    integer     NOT NULL,
    seq          bigint      NOT NULL,
    version      bigint      NOT NULL,
    moves        bigint      NOT NULL,
    on_hand      bigint      NOT NULL,
    reserved     bigint      NOT NULL,
    allocated    bigint      NOT NULL,
    unavailable  bigint      NOT NULL,
    updated_at   timestamptz NOT NULL,
    safety_stock bigint,
    sku          text        NOT NULL COLLATE "C",
    location     text        NOT NULL COLLATE "C",
    extras       jsonb       NOT NULL,
    PRIMARY KEY (sku, location)
) WITH (fillfactor = 70);

COMMENT ON COLUMN levels.extras IS 'counted_at, own safety stock, units by state, documents.';

CREATE TABLE reservations (
    partition      integer     NOT NULL,
    seq            bigint      NOT NULL,
    expires_at     timestamptz,
    closed_at      timestamptz,
    reservation_id text        PRIMARY KEY COLLATE "C",
    status         text        NOT NULL COLLATE "C",
    order_id       text        NOT NULL COLLATE "C",
    document       bytea       NOT NULL
) WITH (fillfactor = 70);

-- What a rebuild loads, and what is stuck, is looked for by status; most are closed.
CREATE INDEX reservations_open ON reservations (status, expires_at)
    WHERE closed_at IS NULL;

CREATE TABLE orders (
    partition integer NOT NULL,
    seq       bigint  NOT NULL,
    order_id  text    PRIMARY KEY COLLATE "C",
    document  bytea   NOT NULL
) WITH (fillfactor = 70);

-- Exceptions: one row per cause and key until somebody resolves it; it counts how often.

CREATE TABLE exceptions (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL COLLATE "C",
    owner      text        NOT NULL COLLATE "C",
    status     text        NOT NULL COLLATE "C" CHECK (status IN ('open', 'settled', 'resolved')),
    sku        text        NOT NULL COLLATE "C",
    location   text        NOT NULL COLLATE "C",
    reference  text        NOT NULL COLLATE "C",
    units      bigint,
    detail     text        NOT NULL,
    count      bigint      NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    settled_at timestamptz,
    partition  integer     NOT NULL,
    first_seq  bigint      NOT NULL,
    last_seq   bigint      NOT NULL,
    note       text
);

COMMENT ON COLUMN exceptions.status IS
    'open; settled: the stock itself says it is over, and the row opens again if it recurs; '
    'resolved: a person closed it, and a recurrence is a new row.';

CREATE UNIQUE INDEX one_exception_per_cause ON exceptions (kind, owner, sku, location, reference)
    WHERE status <> 'resolved';

CREATE INDEX exceptions_by_owner ON exceptions (owner, status, id);

CREATE TABLE parked (
    partition    integer     NOT NULL,
    seq          bigint      NOT NULL,
    exception_id bigint      NOT NULL REFERENCES exceptions,
    source       text        NOT NULL COLLATE "C",
    event_id     text        NOT NULL COLLATE "C",
    detail       text        NOT NULL,
    payload      bytea       NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (partition, seq)
);

COMMENT ON TABLE parked IS 'What arrived and could not be applied, message by message.';

CREATE INDEX parked_by_exception ON parked (exception_id, seq);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON parked
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Catalog: master data. Every process keeps it in memory and is told of each change.

CREATE TABLE locations (
    id         text        PRIMARY KEY COLLATE "C",
    document   jsonb       NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE skus (
    id         text        PRIMARY KEY COLLATE "C",
    document   jsonb       NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE channels (
    id         text        PRIMARY KEY COLLATE "C",
    document   jsonb       NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE feeds (
    id         text        PRIMARY KEY COLLATE "C",
    document   jsonb       NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION tell_of_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('atp_catalog', TG_TABLE_NAME || ':' || coalesce(NEW.id, OLD.id));
    RETURN NULL;
END
$$;

CREATE TRIGGER tell_of_change AFTER INSERT OR UPDATE OR DELETE ON locations
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER tell_of_change AFTER INSERT OR UPDATE OR DELETE ON skus
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER tell_of_change AFTER INSERT OR UPDATE OR DELETE ON channels
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER tell_of_change AFTER INSERT OR UPDATE OR DELETE ON feeds
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
