"""What can go wrong on the way to Redis. Refusals are no faults: they are outcomes."""


class Unavailable(Exception):
    """Redis can't be reached, or did not answer: what was asked becomes definite on retry."""


class Fenced(Exception):
    """This Redis may not be answered from: it is empty, or its past is not the ledger's."""

    def __init__(self, reason: str, retry_after_seconds: int = 5) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
