"""Random numbers with a seed: the same names give the same sequence each time."""

from random import Random


def chance(*names: object) -> Random:
    """A generator of random numbers that is seeded by the names."""
    return Random(" ".join(map(str, names)))  # noqa: S311 – shoppers are no secrets
