"""The API as a process: what its settings say about callers holds on the loop that it runs on."""

import json
import socket

from tests.instance import Instance

HEAD = b"POST /v1/reservations HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
PAGE = b"GET /schema/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_caller_has_as_long_as_the_setting_says(instance: Instance) -> None:
    instance.environment["ATP_REQUEST_SECONDS"] = "1"
    instance.start_serving()
    address = ("127.0.0.1", int(instance.environment["ATP_PORT"]))

    with socket.create_connection(address, 10) as slow:
        slow.sendall(HEAD + b"{")
        head, _, body = _rest(slow).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["type"] == "urn:atp:problem:request-timeout"

    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.connect(address)
        deaf.sendall(PAGE * 20)  # more than the kernel keeps for a caller
        instance.until(
            lambda: (
                'atp_http_slow_callers_total{owed="answer"} 1.0'
                in instance.http.get("/metrics").text
            ),
            "who doesn't take the answer is hung up on",
        )
    assert 'atp_http_slow_callers_total{owed="request"} 1.0' in instance.http.get("/metrics").text


def _rest(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))
