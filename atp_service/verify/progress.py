"""How many entries are walked."""

from atp_service.progress import Show, unseen


class Progress:
    """Counts the entries, and shows the count."""

    def __init__(self, show: Show = unseen) -> None:
        self._show = show
        self._entries = 0
        self._walked = 0

    def begin(self, entries: int) -> None:
        """So many entries are to be walked."""
        self._entries = entries

    def walked(self, entries: int) -> None:
        """So many more entries are walked."""
        self._walked += entries
        share = self._walked / max(self._entries, 1)
        self._show("entries", share, f"{self._walked:,} of {self._entries:,}")

    def stage(self, name: str) -> None:
        """All entries are walked, and something else is compared."""
        self._show(name, None, "compared")
