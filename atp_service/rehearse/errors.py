"""What keeps a rehearsal from being held: said in one line."""


class CannotRehearse(Exception):
    """There is no verdict: the service isn't there, or a part that the audit needs."""
