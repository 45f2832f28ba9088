"""Requests of commands to the API: its answer, or the reason why there is none, in words."""

import os
from typing import Any

import rich_click as click

from atp_service.cli.output import fail
from atp_service.cli.settings import settings_here
from atp_service.config import SettingsError
from atp_service.processes.instance import find

_PATIENCE_SECONDS = 15.0

api_option = click.option(
    "--api", metavar="URL", help="The API's address; by default the running one."
)


def ask(api: str | None, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer to a GET of `path`, as a document.

    Ends the command with 1 after a 404 and with 2 after any other error. Raises SettingsError if no
    API answers.
    """
    import httpx2

    if api is None:
        settings = settings_here(os.environ)
        instance = find(settings.folder)
        api = settings.url if instance is None else instance.url
    try:
        answer = httpx2.get(f"{api.rstrip('/')}{path}", params=query, timeout=_PATIENCE_SECONDS)
        document: dict[str, Any] = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as fault:
        raise SettingsError(
            f"No API answers at {api}: {str(fault) or type(fault).__name__}\n"
            "Start one with `atp up` or `atp serve`, name another with --api, or set ATP_DATA to\n"
            "the folder of a running one."
        ) from None
    if not answer.is_success:
        not_found = answer.status_code == httpx2.codes.NOT_FOUND
        fail(_why(document, query or {}) or answer.status_code, 1 if not_found else 2)
    return document


def _why(document: dict[str, Any], query: dict[str, str]) -> str:
    """The API's reason; parameters are named as options of the command."""
    errors = [(error["pointer"], error["message"]) for error in document.get("errors", ())]
    if errors and all(pointer[1:] in query for pointer, _ in errors):
        return "; ".join(f"--{pointer[1:]}: {message}" for pointer, message in errors)
    return str(document.get("detail", ""))
