"""A GET to the API, for commands: its answer, or in words why there is none."""

import os
import sys
from typing import Any

import rich_click as click

from atp_service.cli.settings import settings_here
from atp_service.config import Settings, SettingsError
from atp_service.processes.instance import find

_PATIENCE_SECONDS = 15.0

api_option = click.option(
    "--api", metavar="URL", help="The API's address; the running one, if left out."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the answer as JSON and nothing else."
)


def ask(api: str | None, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer to a GET. Ends the command with 1 if there is no such thing, and with 2 if the
    request is wrong or the API can't answer now."""
    import httpx2

    url = api or _url(settings_here(os.environ))
    try:
        answer = httpx2.get(f"{url.rstrip('/')}{path}", params=query, timeout=_PATIENCE_SECONDS)
        document: dict[str, Any] = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as fault:
        raise SettingsError(
            f"No API answers at {url}: {str(fault) or type(fault).__name__}\n"
            "Start one with `atp up` or `atp serve`, name another with --api, or set ATP_DATA to\n"
            "the folder of the one that runs."
        ) from None
    if answer.is_success:
        return document
    click.echo(f"atp: {_why(document, query or {}) or answer.status_code}", err=True)
    sys.exit(1 if answer.status_code == httpx2.codes.NOT_FOUND else 2)


def _why(document: dict[str, Any], query: dict[str, str]) -> str:
    """The API's reason; for a parameter, by the name of the command's option."""
    faults = [(error["pointer"], error["message"]) for error in document.get("errors", ())]
    if faults and all(pointer[1:] in query for pointer, _ in faults):
        return "; ".join(f"--{pointer[1:]}: {message}" for pointer, message in faults)
    return str(document.get("detail", ""))


def _url(settings: Settings) -> str:
    """The address of the instance on `ATP_DATA`; else the one that `atp serve` would have."""
    instance = find(settings.folder)
    if instance is not None:
        return instance.url
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"
