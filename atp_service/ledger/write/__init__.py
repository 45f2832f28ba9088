"""Journal entries to rows: the batch, its statements, the exceptions it opens."""
