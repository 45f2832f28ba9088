"""The numbers that `atp up` shows, as the processes themselves count them."""

from collections import Counter
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
    samples: Counter[tuple[str, str, str, str]] = Counter()  # by name, method, route, status
    for url in urls:
        text = fetch(f"{url}/metrics", accept=CONTENT_TYPE_LATEST)
        if text is None:
            return None
        for family in text_string_to_metric_families(text.decode()):  # type: ignore[no-untyped-call]
            for name, labels, value, *_ in family.samples:
                method, route, status = (labels.get(n, "") for n in ("method", "route", "status"))
                samples[name, method, route, status] += value

    def total(name: str, method: str = "", route_end: str = "", status: str = "") -> int:
        return int(
            sum(
                value
                for (its_name, its_method, its_route, its_status), value in samples.items()
                if its_name == name
                and method in ("", its_method)
                and its_route.endswith(route_end)
                and status in ("", its_status)
            )
        )

    requests = "atp_http_request_seconds_count"
    return Counters(
        requests=total(requests),
        held=total(requests, "POST", _RESERVATIONS, "201"),
        refused=total(requests, "POST", _RESERVATIONS, "409"),
        confirmed=total(requests, "POST", "/confirm", "200"),
        released=total(requests, "POST", "/release", "200"),
        expired=total("atp_expire_holds_total"),
        events=total("atp_events_total"),
        duplicates=total("atp_events_total", status="duplicate"),
        parked=total("atp_events_total", status="parked"),
        pending=total("atp_ingest_pending"),
        recorded=total("atp_recorded_entries_total"),
    )
