-- A reconciliation that waits is there once, however often it is asked for; and history, which past
-- numbers are explained by, is only added to.

UPDATE reconciliations
SET status = 'failed',
    finished_at = now(),
    report = jsonb_build_object('reason', 'asked for twice: the other one was run')
WHERE status = 'requested'
  AND id NOT IN (
    SELECT min(id)
    FROM reconciliations
    WHERE status = 'requested'
    GROUP BY scope, repair
);

-- Of the scope only a hash: a thousand SKUs are more than an index takes.
CREATE UNIQUE INDEX reconciliations_waiting ON reconciliations (md5(scope::text), repair)
    WHERE status = 'requested';

-- The clock of two changes may be the same, or have been set back: the later one is later still.

CREATE OR REPLACE FUNCTION keep_history() RETURNS trigger
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

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
