"""Asking our own processes. The standard library's client, as every import delays the start."""

from urllib.error import URLError
from urllib.request import Request, urlopen

_PATIENCE_SECONDS = 0.5


def fetch(url: str, *, accept: str = "*/*") -> bytes | None:
    """The body of a good answer; None for any other, and for none."""
    try:
        with urlopen(Request(url, headers={"accept": accept}), timeout=_PATIENCE_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except (URLError, OSError):
        return None
