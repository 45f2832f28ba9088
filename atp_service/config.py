"""Settings: few, typed, read once from the environment. A wrong one stops the start, by name."""

import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[int, Meta(ge=0, le=86_400 * 31)]
Patience = Annotated[int, Meta(ge=1, le=3_600)]
Hours = Annotated[int, Meta(ge=1, le=24 * 31)]

_PREFIX = "ATP_"
_MISTYPED = 0.75  # how alike two names must be for one to be a slip of the other


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the message names it and says what to set."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set. The variable is `ATP_` and the name in capitals."""

    host: str = "127.0.0.1"
    port: Port = 8080
    request_seconds: Patience = 30
    data: str = ".atp"
    redis_url: str | None = None
    nats_url: str | None = None
    database_url: str | None = None
    migration_url: str | None = None
    # Decided where it is left out: on where we run the servers ourselves, off elsewhere.
    auto_create: bool | None = None
    dedupe_hours: Hours = 24
    durability: Literal["redis", "ledger"] = "redis"
    reconcile_seconds: Seconds = 900
    worker_metrics_port: Port | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    redis_server: str | None = None
    nats_server: str | None = None
    postgres_server: str | None = None

    @property
    def folder(self) -> Path:
        """The folder for data, absolute: processes started from elsewhere find the same."""
        return Path(self.data).expanduser().absolute()

    @property
    def url(self) -> str:
        """The address of the API on `host` and `port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


_TO_SET = {
    "host": "a loopback address, such as 127.0.0.1",
    "port": "a port, 1 to 65535, or 0 for any that is free",
    "request_seconds": "seconds, 1 to 3600, that a request may take to arrive",
    "data": "the folder where data is kept",
    "redis_url": "redis://host:port/0, rediss://… or unix:///path/to/socket",
    "nats_url": "nats://host:port",
    "database_url": "postgresql://user@host/database, as the service's own role",
    "migration_url": "postgresql://user@host/database, as the role that owns the tables",
    "auto_create": "true or false",
    "dedupe_hours": "hours, 1 to 744",
    "durability": "redis or ledger: where a change is before it is answered",
    "reconcile_seconds": "seconds between two comparisons of Redis with the ledger, 0 for none",
    "worker_metrics_port": "a port, 1 to 65535, or 0 for any that is free",
    "log_level": "debug, info, warning or error",
    "redis_server": "the path of a valkey-server or redis-server",
    "nats_server": "the path of a nats-server",
    "postgres_server": "the path of a postgres, beside its initdb",
}
_SCHEMES = {
    "redis_url": ("redis", "rediss", "unix"),
    "nats_url": ("nats", "tls", "ws", "wss"),
    "database_url": ("postgresql", "postgres"),
    "migration_url": ("postgresql", "postgres"),
}


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`; an empty variable counts as left out. Raises SettingsError."""
    given = {
        name.removeprefix(_PREFIX).lower(): value.strip()
        for name, value in environment.items()
        if name.startswith(_PREFIX) and value.strip()
    }
    for name in [name for name in given if name not in _TO_SET]:
        _check_mistyped(name)
        del given[name]  # another program's
    for name, value in given.items():
        # One at a time, so that the message can name the variable and its value.
        try:
            msgspec.convert({name: value}, Settings, strict=False)
        except msgspec.ValidationError:
            raise unusable(name, value, "won't do") from None
        schemes = _SCHEMES.get(name)
        if schemes is not None and value.partition("://")[0] not in schemes:
            # Its value is not shown: there may be a password in it.
            raise SettingsError(
                f"{variable(name)} is not an address that starts with {schemes[0]}://\n"
                f"Set it to {_TO_SET[name]}."
            )
    settings = msgspec.convert(given, Settings, strict=False)
    _check_host(settings.host)
    return settings


def unusable(name: str, value: object, reason: str) -> SettingsError:
    """The error for a setting whose value can't be used."""
    return SettingsError(f"{variable(name)}={value}: {reason}\nSet it to {_TO_SET[name]}.")


def missing(name: str) -> SettingsError:
    """The error for a setting that this command can't do without."""
    return SettingsError(f"{variable(name)} is not set\nSet it to {_TO_SET[name]}.")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def _check_mistyped(name: str) -> None:
    close = difflib.get_close_matches(name, _TO_SET, 1, _MISTYPED)
    if close and not close[0].endswith(name):
        raise SettingsError(
            f"{variable(name)} is not a setting\nDid you mean {variable(close[0])}?"
        )


def _check_host(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        # There are no API keys yet: whoever reached the port could sell the stock.
        raise unusable("host", host, "only loopback is served until API keys exist")
