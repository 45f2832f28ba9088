"""Reading what callers send: bodies, ids in paths, the headers that matter. Strict, and once."""

import re
from collections.abc import Callable
from functools import cache
from itertools import count
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes

import msgspec
from msgspec import DecodeError, Struct, ValidationError, structs
from msgspec.json import Decoder

from atp_service.api.asgi import Receive, Scope
from atp_service.api.error_pointers import located
from atp_service.api.problems import Refused, invalid, problem, too_large, unreadable
from atp_service.api.responses import Call
from atp_service.identifiers import Id, traceparent_of

T = TypeVar("T")

# Stands for a slash inside an id while the path is taken apart; no id may contain it.
SLASH = "\x1f"

# What follows is one id to the end of the path, slashes and all: those of feeds usually hold some.
_TO_THE_END = ("/v1/feeds/", "/v1/trace/")

_LOOPBACK_ORIGIN = re.compile(
    rb"https?://((?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?)"
).fullmatch
_REQUEST_ID = re.compile(rb"[!-~]{1,128}").fullmatch
_KEY = re.compile("[ -~]{1,255}").fullmatch
_OWN_PREFIX = f"{token_hex(8)}-"
_own_number = count(1)


class Gone(Exception):
    """The caller hung up before the body was complete."""


@cache
def body_reader(kind: type[T]) -> Callable[[bytes], T]:
    """A function from body to struct that refuses as the contract has it.

    If every member may be left out, so may the body.
    """
    decode = Decoder(kind).decode
    optional = issubclass(kind, Struct) and not any(f.required for f in structs.fields(kind))
    nothing = b"{}" if optional else b""

    def read(body: bytes) -> T:
        try:
            return decode(body or nothing)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(unreadable(body, error, decode)) from None

    return read


def converted(values: Any, kind: type[T]) -> T:
    """A struct out of what a query string holds."""
    try:
        return msgspec.convert(values, kind)
    except ValidationError as error:
        raise Refused(invalid(located(str(error)))) from None


def call_of(headers: dict[bytes, bytes]) -> Call:
    """The headers that matter; a request id that isn't sane is replaced, a trace dropped."""
    request_id = headers.get(b"x-request-id")
    trace = headers.get(b"traceparent")
    key = headers.get(b"idempotency-key")
    return Call(
        request_id.decode()
        if request_id and _REQUEST_ID(request_id)
        else _OWN_PREFIX + str(next(_own_number)),
        None if key is None else key.decode("latin-1"),
        None if trace is None else traceparent_of(trace.decode("latin-1")),
    )


def check_key(key: str) -> None:
    """Refuses an idempotency key that can't be kept."""
    if not _KEY(key):
        raise Refused(invalid(("/idempotency-key", "1–255 printable ASCII characters")))


def is_from_a_foreign_page(headers: dict[bytes, bytes]) -> bool:
    """Whether a web page of another origin sends this: browsers send it, and pages can't change it.

    Browsers that don't name the site name the origin. It is believed of loopback names alone: of
    others a page may own the name, and have it lead here (DNS rebinding).
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    ours = _LOOPBACK_ORIGIN(origin)
    return ours is None or ours[1] != headers.get(b"host")


def path_of(scope: Scope) -> str:
    """The path with each segment decoded, and a slash inside a segment kept apart."""
    escaped: str = scope["raw_path"].decode("latin-1")
    for start in _TO_THE_END:
        if escaped.startswith(start):
            return start + _decoded(escaped.removeprefix(start)).replace("/", SLASH)
    if "//" in escaped:
        # Taken for one slash it would reach another record than that of an id left unescaped.
        raise Refused(problem("not-found", f"There is nothing at {escaped}."))
    if "%" not in escaped:
        return escaped
    segments = (_decoded(segment) for segment in escaped.split("/"))
    return "/".join(segment.replace("/", SLASH) for segment in segments)


def _decoded(escaped: str) -> str:
    try:
        decoded = unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        raise Refused(problem("malformed", "The path is not UTF-8.")) from None
    if SLASH in decoded:
        raise Refused(problem("malformed", "The path holds a control character."))
    return decoded


def query_of(query: bytes) -> str:
    """The query string, its escapes as they are; refuses what is no text."""
    try:
        unquote_to_bytes(query).decode()
        return query.decode()
    except UnicodeDecodeError:
        raise Refused(problem("malformed", "The query is not UTF-8.")) from None


def given(query: bytes) -> bytes:
    """The query without what has no value, which counts as left out: so forms mean it."""
    return b"&".join(pair for pair in query.split(b"&") if pair.partition(b"=")[2])


def path_id(name: str, segment: str, kind: Any = Id) -> str:
    """An id out of a path, checked."""
    value = segment.replace(SLASH, "/")
    try:
        checked: str = msgspec.convert(value, kind)
    except ValidationError:
        raise Refused(invalid((f"/{name}", "not a well-formed id"))) from None
    return checked


async def whole_body(receive: Receive, declared: bytes | None, limit: int) -> bytes:
    """The body; refuses it as soon as it is known to be over the limit."""
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise Refused(too_large(limit))
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refused(too_large(limit))
        if not message.get("more_body", False):
            return body
