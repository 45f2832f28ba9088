"""The numbers that `atp up` shows, as the processes themselves count them."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from atp_service.embedded.fetch import fetch

_RESERVATIONS = "/v1/reservations"


class Counters(Struct, frozen=True, kw_only=True):
    """Since the processes started."""

    requests: int = 0
    held: int = 0
    refused: int = 0
    confirmed: int = 0
    released: int = 0
    expired: int = 0
    events: int = 0
    duplicates: int = 0
    parked: int = 0
    pending: int = 0
    recorded: int = 0


def read_counters(urls: Iterable[str]) -> Counters | None:
    """The sum over the processes at `urls`; None where one doesn't answer."""
    numbers = _Numbers()
    for url in urls:
        text = fetch(f"{url}/metrics", accept=CONTENT_TYPE_LATEST)
        if text is None:
            return None
        numbers.add(text_string_to_metric_families(text.decode()))  # type: ignore[no-untyped-call]
    return numbers.counters()


class _Numbers:
    """Samples by name and by the labels that tell them apart."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(self, families: Iterable[Metric]) -> None:
        for family in families:
            for sample in family.samples:
                labels = tuple(
                    sample.labels[name]
                    for name in ("method", "route", "status")
                    if name in sample.labels
                )
                key = (sample.name, labels)
                self._samples[key] = self._samples.get(key, 0.0) + sample.value

    def counters(self) -> Counters:
        return Counters(
            requests=self._total("atp_http_request_seconds_count"),
            held=self._calls("POST", _RESERVATIONS, "201"),
            refused=self._calls("POST", _RESERVATIONS, "409"),
            confirmed=self._calls("POST", "/confirm", "200"),
            released=self._calls("POST", "/release", "200"),
            expired=self._total("atp_expire_holds_total"),
            events=self._total("atp_events_total"),
            duplicates=self._total("atp_events_total", "duplicate"),
            parked=self._total("atp_events_total", "parked"),
            pending=self._total("atp_ingest_pending"),
            recorded=self._total("atp_recorded_entries_total"),
        )

    def _calls(self, method: str, route_end: str, status: str) -> int:
        return int(
            sum(
                value
                for (name, labels), value in self._samples.items()
                if name == "atp_http_request_seconds_count"
                and labels[0] == method
                and labels[1].endswith(route_end)
                and labels[2] == status
            )
        )

    def _total(self, name: str, status: str | None = None) -> int:
        return int(
            sum(
                value
                for (sample, labels), value in self._samples.items()
                if sample == name and (status is None or status in labels)
            )
        )
