"""Why a start fails, and what helps."""


class CannotStart(Exception):
    """A server, or the whole, can't start here: the reason, and on the next line what helps."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
