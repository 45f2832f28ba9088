"""Asking our own processes. The standard library's client, as every import delays the start."""

from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_PATIENCE_SECONDS = 0.5


def fetch(url: str, *, accept: str = "*/*", refusals: bool = False) -> bytes | None:
    """The body of a good answer, or of a refusal too where asked for; None for no answer."""
    try:
        with urlopen(Request(url, headers={"accept": accept}), timeout=_PATIENCE_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except HTTPError as refusal:
        with refusal:
            return refusal.read() if refusals else None
    except (URLError, OSError):
        return None
