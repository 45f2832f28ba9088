"""The parts of a file's snapshots: its locations, their times, and the events that end them."""

from collections.abc import Mapping
from datetime import datetime

from atp_service.adapters.mapping.rows import Event
from atp_service.catalog import Feed
from atp_service.facts.canonical_events import milliseconds
from atp_service.facts.translation import our_location
from atp_service.ledger.read.snapshots import Part


class SnapshotParts:
    """The locations as the file names them, each with the times of its rows."""

    def __init__(self) -> None:
        self._times: dict[str, set[str]] = {}

    def add(self, line: Event) -> None:
        """Take a row's location and time."""
        location = line.data.get("location")
        if isinstance(location, str):
            self._times.setdefault(location, set()).add(line.time)

    def finals(self, feed: str, file_id: str) -> dict[str, Event]:
        """The event that closes a snapshot by location; only of those with rows of one time."""
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
        """Locations with rows of several times: their snapshots have no one time to close at."""
        return sorted(location for location, times in self._times.items() if len(times) > 1)

    def as_compared(self, feed_id: str, feeds: Mapping[str, Feed]) -> list[Part]:
        """The parts by our names of the locations, in which the ledger knows them."""
        feed = feeds.get(feed_id) or Feed(id=feed_id)
        return [
            Part(our_location(location, feed), milliseconds(datetime.fromisoformat(time)))
            for location, times in sorted(self._times.items())
            for time in sorted(times)
        ]
