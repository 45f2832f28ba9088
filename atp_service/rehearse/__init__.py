"""A flash sale, rehearsed: a load like the real one, and an audit that trusts no one's word.

A rehearsal is a customer: it uses the service over HTTP and NATS. Its audit reads the promises from
the ledger and compares them with the buyers' own records; the service's own view does not count.
"""


class CannotRehearse(Exception):
    """The service, or a part that the audit needs, is away; the message is one line."""
