"""A source's file, replayed: rows become canonical events and go the way of every other event."""
