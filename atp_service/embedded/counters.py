"""The numbers that `atp up` shows, as the processes themselves count them."""

from collections.abc import Iterable

from msgspec import Struct
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from atp_service.embedded.fetch import fetch

_RESERVATIONS = "/v1/reservations"


class Counters(Struct, frozen=True, kw_only=True):
    """Counts since the processes started; `pending` is how many events wait now."""

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
    """The sums over the processes at `urls`; None if one of them does not answer."""
    samples: list[tuple[str, dict[str, str], float]] = []  # name, labels, value
    for url in urls:
        text = fetch(f"{url}/metrics", accept=CONTENT_TYPE_LATEST)
        if text is None:
            return None
        for family in text_string_to_metric_families(text.decode()):  # type: ignore[no-untyped-call]
            samples += [(name, labels, value) for name, labels, value, *_ in family.samples]

    def total(counter: str, **ends: str) -> int:
        """The counter's sum over all whose labels end so."""
        return int(
            sum(
                value
                for name, labels, value in samples
                if name == counter
                and all(labels.get(label, "").endswith(end) for label, end in ends.items())
            )
        )

    requests = "atp_http_request_seconds_count"
    return Counters(
        requests=total(requests),
        held=total(requests, method="POST", route=_RESERVATIONS, status="201"),
        refused=total(requests, method="POST", route=_RESERVATIONS, status="409"),
        confirmed=total(requests, method="POST", route="/confirm", status="200"),
        released=total(requests, method="POST", route="/release", status="200"),
        expired=total("atp_expire_holds_total"),
        events=total("atp_events_total"),
        duplicates=total("atp_events_total", status="duplicate"),
        parked=total("atp_events_total", status="parked"),
        pending=total("atp_ingest_pending"),
        recorded=total("atp_recorded_entries_total"),
    )
