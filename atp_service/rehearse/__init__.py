"""A flash sale, rehearsed: a load like the real one, and an audit that believes nobody.

It is a customer: it uses the service over HTTP and NATS. What was promised is then read from the
ledger and compared with what the buyers themselves were told; the service isn't asked how it went.
"""
