"""GET from our own processes, with the standard library: every import delays the start."""

from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_PATIENCE_SECONDS = 0.5


def fetch(url: str, *, accept: str = "*/*", refusals: bool = False) -> bytes | None:
    """The body of a 2xx, with `refusals` of any response; None if none comes in half a second."""
    try:
        with urlopen(Request(url, headers={"accept": accept}), timeout=_PATIENCE_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except HTTPError as refusal:
        with refusal:
            return refusal.read() if refusals else None
    except (URLError, OSError):
        return None
