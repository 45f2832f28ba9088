"""The event stream after a rebuild: what to replay, and from which message."""
