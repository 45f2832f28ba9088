"""The names of one run's goods: new ones each time, so that a run can be repeated on a service."""

from msgspec import Struct

from atp_service.rehearse.scenario import Scenario


class Goods(Struct, frozen=True):
    """What one run sells, and where. `shop` ships the orders; `store` only has a till, so that
    facts, which are never refused, can't take what is promised."""

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


def goods(scenario: Scenario, run: str) -> Goods:
    return Goods(
        run,
        [f"{run}-sale-{number}" for number in range(1, scenario.sale.skus + 1)],
        [f"{run}-every-{number}" for number in range(1, scenario.everyday.skus + 1)],
    )


def run_name(now_ms: int) -> str:
    """A name no earlier run has had; its first letters say what it is."""
    return f"sale-{now_ms:x}"
