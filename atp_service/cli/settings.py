"""The settings of a command: the environment's, completed by a running instance's."""

from collections.abc import Mapping

import msgspec

from atp_service.config import Settings, SettingsError, missing, read_settings, variable
from atp_service.processes.instance import find

_URLS = ("redis_url", "nats_url", "database_url", "migration_url")


def settings_here(environment: Mapping[str, str], *needed: str) -> Settings:
    """The settings; missing URLs are those of the instance that runs on `ATP_DATA`.

    Raises SettingsError for one of `needed` that is in neither.
    """
    settings = read_settings(environment)
    instance = find(settings.folder)
    if instance is not None:
        # An own database goes with its own migrations, never with the instance's.
        urls = [name for name in _URLS if name != "migration_url" or not settings.database_url]
        found = {name: getattr(instance, name) for name in urls if not getattr(settings, name)}
        if settings.auto_create is None:
            found["auto_create"] = instance.auto_create
        if not environment.get(variable("durability"), "").strip():
            found["durability"] = instance.durability
        settings = msgspec.structs.replace(settings, **found)
    for name in needed:
        if getattr(settings, name) is None:
            raise SettingsError(
                f"{missing(name)}\nOr start an instance with `atp up`: none runs on "
                f"{settings.folder} (ATP_DATA)."
            )
    return settings
