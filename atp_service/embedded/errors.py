"""What stops a start: said in one line, with what to do about it in another."""


class CannotStart(Exception):
    """A server, or the whole, can't start here; `advice` says what would help."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}\n{advice}")
        self.reason = reason
        self.advice = advice
