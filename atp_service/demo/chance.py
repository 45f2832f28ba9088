"""Chance with a seed: what people do by chance is the same every time it is asked for by name."""

from random import Random


def chance(*names: object) -> Random:
    return Random(" ".join(map(str, names)))  # noqa: S311 – shoppers are no secrets
