"""What the processes count, for Prometheus. Never a SKU, a location or an id in a label."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.values import ValueClass

CONTENT_TYPE = CONTENT_TYPE_LATEST
REGISTRY = CollectorRegistry()

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)

_http_request_seconds = Histogram(
    "atp_http_request_seconds",
    "Time to answer, by route and status",
    ["method", "route", "status"],
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
_door_batch_commands = Histogram(
    "atp_door_batch_commands",
    "Commands sent to Redis in one round trip",
    buckets=_COUNT_BUCKETS,
    registry=REGISTRY,
)
_door_queue_seconds = Histogram(
    "atp_door_queue_seconds",
    "Longest wait in the door's queue, per round trip",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
_door_round_trip_seconds = Histogram(
    "atp_door_round_trip_seconds",
    "Time of one round trip of the door, fsync included",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
_events = Counter(
    "atp_events", "Stock events, by what became of them", ["status"], registry=REGISTRY
)
_slow_callers = Counter(
    "atp_http_slow_callers",
    "Callers hung up on, by what they owed: the rest of a request, or taking the answer",
    ["owed"],
    registry=REGISTRY,
)
_serving = Gauge(
    "atp_serving",
    "API processes that answer",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)

_observers: dict[tuple[str, str, int], Callable[[float], None]] = {}


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """One answered request; `route` is the path's template."""
    key = (method, route, status)
    observe = _observers.get(key)
    if observe is None:
        observe = _observers[key] = _http_request_seconds.labels(method, route, status).observe
    observe(seconds)


def count_slow_caller(owed: Literal["request", "answer"]) -> None:
    """A caller was hung up on."""
    _slow_callers.labels(owed).inc()


def observe_batch(commands: int, queue_seconds: float, round_trip_seconds: float) -> None:
    """One round trip of the door."""
    _door_batch_commands.observe(commands)
    _door_queue_seconds.observe(queue_seconds)
    _door_round_trip_seconds.observe(round_trip_seconds)


def count_events(statuses: Iterable[str]) -> None:
    """A batch of stock events, each by what became of it."""
    for status, count in Tally(statuses).items():
        _events.labels(status).inc(count)


def tell_serving() -> None:
    """This process answers requests from now on."""
    _serving.set(1)


def count_serving(folder: str) -> int:
    """How many of the workers that share the folder answer requests."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # untyped there
    return int(registry.get_sample_value("atp_serving") or 0)


def exposition() -> bytes:
    """All of it in OpenMetrics; of all workers where they share a folder."""
    registry = REGISTRY
    if ValueClass.__name__ == "MmapedValue":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]  # untyped there
    return text
