"""The names we use of other packages beside their documented interfaces.

A new version may drop one without notice. Then a test here fails with the name and its user, before
a request does; pyproject.toml bounds the versions.
"""

import asyncio
import inspect
import re
from types import ModuleType

import httptools
import psycopg
import pytest
import uvicorn
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from atp_service.api.fast_path import http_protocol, slow_callers
from atp_service.api.fast_path.http_protocol import LaneProtocol
from atp_service.ledger.read import raw_entries
from atp_service.store import connection as store_connection

OVERRIDDEN = {
    "data_received",
    "on_message_begin",
    "on_url",
    "on_headers_complete",
    "on_message_complete",
    "send_400_response",
}


def _has(thing: object, of: str, used_by: ModuleType, *names: str) -> None:
    missing = [name for name in names if not hasattr(thing, name)]
    assert not missing, (
        f"{of} no longer has {', '.join(missing)}, which {used_by.__name__} uses: "
        "adapt it, or keep the package's upper bound in pyproject.toml"
    )


@pytest.fixture
async def connection() -> HttpToolsProtocol:
    """uvicorn's protocol as it is before a caller has connected."""

    async def application(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request is sent")

    return HttpToolsProtocol(uvicorn.Config(application), ServerState(), {})


async def test_uvicorn_s_protocol_has_the_state_that_the_fast_path_reads(
    connection: HttpToolsProtocol,
) -> None:
    _has(
        connection, "uvicorn's HttpToolsProtocol", http_protocol,
        "app", "cycle", "flow", "loop", "pipeline", "scope", "server_state", "tasks",
        "timeout_keep_alive_task", "transport", "_unset_keepalive_if_required",
        "on_response_complete", *OVERRIDDEN,
    )  # fmt: skip
    connection.on_message_begin()
    _has(connection, "uvicorn's HttpToolsProtocol with a request", http_protocol, "url", "scope")
    assert isinstance(connection.url, bytes), "uvicorn's `url` grows by `on_url`, in bytes"
    _has(
        connection.server_state, "uvicorn's ServerState", slow_callers,
        "connections", "default_headers",
    )  # fmt: skip
    _has(FlowControl, "uvicorn's FlowControl", http_protocol, "drain", "pause_reading")
    assert "write_paused" in inspect.getsource(FlowControl), (
        "uvicorn's FlowControl no longer has write_paused, which the fast path uses"
    )


def test_uvicorn_s_cycle_has_the_state_that_the_fast_path_reads() -> None:
    """What `cut_off` and `owed` read and write of a request that is uvicorn's."""
    attributes = set(re.findall(r"self\.(\w+)", inspect.getsource(RequestResponseCycle.__init__)))
    missing = {"disconnected", "message_event", "more_body", "response_complete", "scope"}
    missing -= attributes
    assert not missing, (
        f"uvicorn's RequestResponseCycle no longer has {missing}, which the fast path uses"
    )


def test_a_request_of_the_fast_path_has_all_that_uvicorn_reads_of_a_cycle() -> None:
    """A hot request stands in `cycle`, so uvicorn reads and writes it at a shutdown or a hang-up.

    uvicorn's parser callbacks (`on_body` …) never see it: they run between requests only.
    """
    for method in ("connection_lost", "shutdown", "on_headers_complete"):
        source = inspect.getsource(getattr(HttpToolsProtocol, method))
        for name in re.findall(r"(?:self\.|existing_)cycle\.(\w+)", source):
            assert hasattr(http_protocol._Turn, name), (
                f"uvicorn's {method} now uses cycle.{name}: a request of the fast path needs it"
            )


def test_uvicorn_has_no_name_of_the_fast_path_s_own() -> None:
    own = {name for name in vars(LaneProtocol) if not name.startswith("__")} - OVERRIDDEN
    taken = own & (set(dir(HttpToolsProtocol)) | set(vars(asyncio.Protocol)))
    assert not taken, f"uvicorn's protocol now has {taken}: the fast path would replace them"


async def test_uvicorn_s_parser_calls_the_methods_that_the_fast_path_overrides(
    connection: HttpToolsProtocol,
) -> None:
    assert isinstance(connection.parser, httptools.HttpRequestParser), "uvicorn has another parser"
    source = inspect.getsource(HttpToolsProtocol.data_received)
    assert "self.send_400_response(" in source, (
        "uvicorn no longer sends its 400 by send_400_response, which the fast path overrides"
    )
    assert "loaded_app" in inspect.getsource(HttpToolsProtocol.__init__), (
        "uvicorn's `app` is no longer the application that it was given"
    )


def test_redis_py_s_connection_sends_and_reads_as_the_store_asks() -> None:
    user = store_connection
    _has(ConnectionPool, "redis-py's ConnectionPool", user, "from_url", "make_connection")
    for method, parameters in {
        "connect": (),
        "disconnect": ("nowait",),
        "send_packed_command": ("check_health",),
        "read_response": ("disable_decoding",),
    }.items():
        _has(AbstractConnection, "redis-py's AbstractConnection", user, method)
        known = inspect.signature(getattr(AbstractConnection, method)).parameters
        missing = [name for name in parameters if name not in known]
        assert not missing, (
            f"redis-py's AbstractConnection.{method} no longer takes {missing}, "
            f"which {user.__name__} passes"
        )


def test_libpq_copies_as_the_ledger_asks() -> None:
    user = raw_entries
    _has(psycopg.pq.PGconn, "psycopg's PGconn", user, "exec_", "get_copy_data", "get_result")
    _has(psycopg.errors, "psycopg.errors", user, "error_from_result")
