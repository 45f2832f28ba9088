-- A SKU that was deleted sold nothing until it was there again: a past number says so. Of all others
-- nothing is kept, since there may be millions.

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
