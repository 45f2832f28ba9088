"""The generic adapter: rows of a file to canonical events, by a mapping in TOML."""
