"""The parts of a file's snapshots: which locations it has, when each was taken, and its end."""

from collections.abc import Mapping
from datetime import datetime

from atp_service.adapters.mapping.rows import Event
from atp_service.catalog import Feed
from atp_service.facts.canonical_events import milliseconds
from atp_service.facts.translation import our_location
from atp_service.ledger.read.snapshots import Part


class Parts:
    """Locations as the file calls them, each with the times of its rows."""

    def __init__(self) -> None:
        self._times: dict[str, set[str]] = {}

    def add(self, line: Event) -> None:
        location = line.data.get("location")
        if isinstance(location, str):
            self._times.setdefault(location, set()).add(line.time)

    def finals(self, feed: str, file_id: str) -> dict[str, Event]:
        """By location the event that closes its snapshot, where all its rows are of one time."""
        return {
            location: Event(
                id=f"{file_id}/{location}",
                source=feed,
                type="atp.stock.snapshot.v1",
                time=next(iter(times)),
                data={"location": location, "final": True},
            )
            for location, times in sorted(self._times.items())
            if len(times) == 1
        }

    @property
    def of_several_times(self) -> list[str]:
        """Locations that can't be closed: nobody knows as of when."""
        return sorted(location for location, times in self._times.items() if len(times) > 1)

    def as_compared(self, feed_id: str, feeds: Mapping[str, Feed]) -> list[Part]:
        """As the ledger knows them: by our name of the location."""
        feed = feeds.get(feed_id) or Feed(id=feed_id)
        return [
            Part(our_location(location, feed), milliseconds(datetime.fromisoformat(time)))
            for location, times in sorted(self._times.items())
            for time in sorted(times)
        ]
