-- The ledger (entries for ever, and the tables that follow from them), then the catalog.
--
-- One recorder per partition writes the ledger, always a whole transaction: entries, movements,
-- events and traces are appended, the projections brought up to date, and the position moved on
-- from exactly where it was. Ids compare by bytes (COLLATE "C"), as in Redis; it is also faster.

CREATE TABLE positions (
    partition   integer     PRIMARY KEY,
    epoch       bigint      NOT NULL,
    seq         bigint      NOT NULL,
    digest      text        NOT NULL,
    chain       bytea       NOT NULL,
    run_id      text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    suspected_losses bigint NOT NULL DEFAULT 0,
    replayed_losses  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

COMMENT ON TABLE positions IS 'How far each partition is recorded; moved by compare-and-set.';
COMMENT ON COLUMN positions.suspected_losses IS
    'How often Redis may have lost entries that it had beyond the ledger. Counted, so that a '
    'replay of the event stream settles the losses before it and no later one.';
COMMENT ON COLUMN positions.replayed_losses IS
    'For so many suspected losses the event stream has been replayed and its entries are here.';

-- How far an event stream is in the ledger: a recovery replays the events after it.

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
    'When the stream was made: a new stream of the same name counts from 1.';

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
    -- A version may come twice, if a level was set back by hand; an entry touches a level once.
    PRIMARY KEY (sku, location, seq)
);

COMMENT ON COLUMN movements.occurred_at IS 'When the fact happened; else when it was entered.';
COMMENT ON COLUMN movements.safety_stock IS 'The level''s own; null where the channel''s applies.';

-- A count adds up the changes of on_hand after a moment. Holds change none.
CREATE INDEX movements_of_on_hand ON movements (sku, location, occurred_at)
    INCLUDE (on_hand_delta)
    WHERE on_hand_delta <> 0;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Events by their own ids; the id comes first: a trace looks for it without its source.

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
    document     bytea       NOT NULL,
    folded       bigint      NOT NULL,
    PRIMARY KEY (sku, location)
) WITH (fillfactor = 70);

COMMENT ON COLUMN levels.extras IS 'counted_at, own safety stock, units by state, documents.';
COMMENT ON COLUMN levels.folded IS
    'The sum of the level''s on_hand_delta. on_hand is the same, unless the level was changed by '
    'hand.';

CREATE TABLE reservations (
    partition      integer     NOT NULL,
    seq            bigint      NOT NULL,
    expires_at     timestamptz,
    closed_at      timestamptz,
    reservation_id text        PRIMARY KEY COLLATE "C",
    status         text        NOT NULL COLLATE "C",
    order_id       text        NOT NULL COLLATE "C",
    document       bytea       NOT NULL,
    in_redis       boolean     NOT NULL
) WITH (fillfactor = 70);

COMMENT ON COLUMN reservations.in_redis IS
    'False once an entry says that Redis has let go of it; the last image stays here.';

-- Everything that Redis must still have is walked in order, in pages.
CREATE INDEX reservations_in_redis ON reservations (reservation_id) WHERE in_redis;

CREATE TABLE orders (
    partition integer NOT NULL,
    seq       bigint  NOT NULL,
    order_id  text    PRIMARY KEY COLLATE "C",
    document  bytea   NOT NULL,
    in_redis  boolean NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX orders_in_redis ON orders (order_id) WHERE in_redis;

-- Exceptions: one row per cause and key until a person resolves it; it counts how often.

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

-- A trace asks for the exceptions about an order, reservation or document.
CREATE INDEX exceptions_by_reference ON exceptions (reference) WHERE reference <> '';

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

COMMENT ON TABLE parked IS 'Messages that could not be applied, one by one.';

CREATE INDEX parked_by_exception ON parked (exception_id, seq);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON parked
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Snapshots line by line: the units a source believed in; `difference` is theirs less ours, as of
-- that moment.

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
    'The policy applied to a difference: correct, review or report; within: it was tolerated; '
    'outdated: units were counted later, so nothing was compared.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON snapshot_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Reconciliations: asked for, run, and their reports. One that waits is there once, however often
-- it is asked for.

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

-- Of the scope only a hash: a thousand SKUs are more than an index takes.
CREATE UNIQUE INDEX reconciliations_waiting ON reconciliations (md5(scope::text), repair)
    WHERE status = 'requested';

-- Rebuilds: why, since when, and the work done. A rebuild that was broken off is begun anew.

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

-- The entries that a Redis acknowledged after it had left the ledger, saved before it is emptied.

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

-- Catalog: master data. Every process keeps it in memory and is notified of each change.

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

-- Each other name is of one SKU alone.

CREATE TABLE sku_aliases (
    source text NOT NULL COLLATE "C",
    alias  text NOT NULL COLLATE "C",
    sku    text NOT NULL COLLATE "C" REFERENCES skus (id) ON DELETE CASCADE,
    PRIMARY KEY (source, alias)
);

CREATE INDEX aliases_of_sku ON sku_aliases (sku);

-- Master data as it was: a past number is explained with the policies of its time.

CREATE TABLE catalog_history (
    kind     text        NOT NULL COLLATE "C",
    id       text        NOT NULL COLLATE "C",
    at       timestamptz NOT NULL,
    document jsonb,
    PRIMARY KEY (kind, id, at)
);

COMMENT ON COLUMN catalog_history.document IS 'Null: deleted then.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The clock may show the same for two changes, or be set back: the later change is later still.

CREATE FUNCTION keep_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    changed text := coalesce(NEW.id, OLD.id);
BEGIN
    INSERT INTO catalog_history (kind, id, at, document)
    SELECT
        TG_TABLE_NAME,
        changed,
        greatest(clock_timestamp(), max(at) + interval '1 microsecond'),
        NEW.document
    FROM catalog_history
    WHERE kind = TG_TABLE_NAME AND id = changed;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_history AFTER INSERT OR UPDATE OR DELETE ON locations
    FOR EACH ROW EXECUTE FUNCTION keep_history();
CREATE TRIGGER keep_history AFTER INSERT OR UPDATE OR DELETE ON channels
    FOR EACH ROW EXECUTE FUNCTION keep_history();

-- A SKU that was deleted sold nothing until it was there again: a past number says so. Of all other
-- SKUs no history is kept, since there may be millions.

CREATE FUNCTION has_history(kind_asked text, id_asked text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM catalog_history
        WHERE kind = kind_asked AND id = id_asked
    )
$$;

CREATE TRIGGER keep_history AFTER DELETE ON skus
    FOR EACH ROW EXECUTE FUNCTION keep_history();
CREATE TRIGGER keep_return AFTER INSERT ON skus
    FOR EACH ROW WHEN (has_history('skus', NEW.id)) EXECUTE FUNCTION keep_history();

-- Calls that changed master data, or asked for a reconciliation, under an Idempotency-Key: a repeat
-- finds its row here and changes nothing. Later calls delete the rows that are past the window.

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
