"""What can go wrong on the way to Redis. Refusals are no faults: they are outcomes."""

from typing import Literal

Cause = Literal["lost", "ledger-behind", "format", "unknown"]


class Unavailable(Exception):
    """Redis can't be reached, or did not answer: what was asked becomes definite on retry."""


class Unreadable(Unavailable):
    """What Redis has of it is damaged: until it is repaired, it can't be had from here."""


class Overloaded(Unavailable):
    """Too much waits at the door already: nothing was taken, and a moment later there is room."""

    def __init__(self, commands: int) -> None:
        super().__init__(f"{commands} commands wait already")


class Fenced(Exception):
    """This Redis may not be answered from: it is empty, or its past is not the ledger's.

    `cause` says what would help. `lost`: Redis lacks what the ledger has, and is rebuilt from it.
    `ledger-behind`: the ledger lacks what Redis has let go of; a rebuild would destroy stock, so
    a person has to decide. `format`: another release has written it. `unknown`: the ledger can't
    be asked.
    """

    def __init__(
        self, reason: str, retry_after_seconds: int = 5, *, cause: Cause = "unknown"
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.cause: Cause = cause
