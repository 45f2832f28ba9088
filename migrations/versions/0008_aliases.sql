-- Which SKU each other name is of: one alone, else a fact would be told of whichever was read last.
-- Where two had a name, it is of the one that was described last; the other one's record still says
-- otherwise, and is refused when it is described so again.

CREATE TABLE sku_aliases (
    source text NOT NULL COLLATE "C",
    alias  text NOT NULL COLLATE "C",
    sku    text NOT NULL COLLATE "C" REFERENCES skus (id) ON DELETE CASCADE,
    PRIMARY KEY (source, alias)
);

CREATE INDEX aliases_of_sku ON sku_aliases (sku);

INSERT INTO sku_aliases (source, alias, sku)
SELECT named.source, names.alias, skus.id
FROM skus,
    jsonb_each(coalesce(skus.document -> 'aliases', '{}')) AS named (source, aliases),
    jsonb_array_elements_text(named.aliases) AS names (alias)
ORDER BY skus.updated_at DESC, skus.id DESC
ON CONFLICT (source, alias) DO NOTHING;
