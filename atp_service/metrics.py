"""The registry of what the processes count, and its text for Prometheus.

Each metric is declared in the module that counts. No label is ever a SKU, a location or an id.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Gauge, multiprocess
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.values import ValueClass

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
REGISTRY: Final = CollectorRegistry()
LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class HighestGauge:
    """A gauge that has the highest value of all partitions."""

    def __init__(self, name: str, text: str) -> None:
        self._values: dict[int, float] = {}
        self._gauge = Gauge(name, text, registry=REGISTRY, multiprocess_mode="livemax")

    def set(self, partition: int, value: float) -> None:
        """Set the partition's value."""
        self._values[partition] = value
        self._gauge.set(max(self._values.values()))


def exposition() -> bytes:
    """All metrics in OpenMetrics; of all API processes if they share a folder."""
    registry = REGISTRY
    if ValueClass.__name__ == "MmapedValue":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]  # untyped there
    return text
