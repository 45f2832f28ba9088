"""The names of one run: new ones each time, so that a run can be repeated on a service."""

from msgspec import Struct

from atp_service.rehearse.scenario import Scenario


class RunNames(Struct, frozen=True):
    """The run's SKUs, locations, channel and feeds; every name begins with `run`.

    `shop` ships the orders. `store` only has a till, so that facts, which are never refused, cannot
    take promised units.
    """

    run: str
    sale: list[str]
    everyday: list[str]

    @property
    def shop(self) -> str:
        return f"{self.run}-dc"

    @property
    def store(self) -> str:
        return f"{self.run}-store"

    @property
    def channel(self) -> str:
        return f"{self.run}-web"

    @property
    def till(self) -> str:
        """The feed of the store's till."""
        return f"{self.run}/till"

    @property
    def warehouse(self) -> str:
        """The feed of the warehouse that ships."""
        return f"{self.run}/wms"

    @property
    def skus(self) -> list[str]:
        return [*self.sale, *self.everyday]

    def are_in(self, key: str) -> bool:
        """True if a level's or reservation's key is one of this run."""
        return key.startswith(f"{self.run}-")


def names_of(scenario: Scenario, run: str) -> RunNames:
    """The names for a scenario's assortment."""
    return RunNames(
        run,
        [f"{run}-sale-{number}" for number in range(1, scenario.sale.skus + 1)],
        [f"{run}-every-{number}" for number in range(1, scenario.everyday.skus + 1)],
    )


def run_name(now_ms: int) -> str:
    """A name that no earlier run had, such as `sale-19ad2c6f3b1`."""
    return f"sale-{now_ms:x}"
