"""The error that ends a rehearsal without a verdict."""


class CannotRehearse(Exception):
    """The service, or a part that the audit needs, is away; the message is one line."""
