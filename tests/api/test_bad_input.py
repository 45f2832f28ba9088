"""Nothing malformed gets past the edge, and every refusal points to the field."""

import json
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Stocked, stock_event
from tests.api.test_reservations import cart, problem

LINE = {"sku": "SKU-1", "location": "DC-1", "quantity": 1}


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"lines": [}', b'{"lines": 1} x', b"[" * 50_000, b'{"a": "\xff"}']
)
async def test_what_is_not_json_is_malformed(shop: httpx2.AsyncClient, body: bytes) -> None:
    for path in ("/v1/reservations", "/v1/reservations/", "/v1/availability", "/v1/stock-events"):
        problem(await shop.post(path, content=body), 400, "malformed")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/lines"),
        ({"lines": []}, "/lines"),
        ({"lines": [LINE] * 101}, "/lines"),
        ({"lines": [{**LINE, "quantity": 0}]}, "/lines/0/quantity"),
        ({"lines": [{**LINE, "quantity": 1_000_000_001}]}, "/lines/0/quantity"),
        ({"lines": [{**LINE, "quantity": "1"}]}, "/lines/0/quantity"),
        ({"lines": [{**LINE, "quantity": 1.5}]}, "/lines/0/quantity"),
        ({"lines": [{**LINE, "quantity": True}]}, "/lines/0/quantity"),
        ({"lines": [{**LINE, "sku": ""}]}, "/lines/0/sku"),
        ({"lines": [{**LINE, "sku": "a\n"}]}, "/lines/0/sku"),
        ({"lines": [{**LINE, "sku": "{0}"}]}, "/lines/0/sku"),
        ({"lines": [{**LINE, "sku": "s" * 65}]}, "/lines/0/sku"),
        ({"lines": [{**LINE, "location": "l" * 33}]}, "/lines/0/location"),
        ({"lines": [{"sku": "SKU-1", "quantity": 1}]}, "/lines/0/location"),
        ({"lines": [LINE, {**LINE, "line_id": "1"}]}, "/lines/1/line_id"),
        ({"lines": [LINE], "ttl_seconds": 0}, "/ttl_seconds"),
        ({"lines": [LINE], "ttl_seconds": 14_401}, "/ttl_seconds"),
        ({"lines": [LINE], "durability": "paper"}, "/durability"),
        ({"lines": [LINE], "colour": "red"}, "/colour"),
        ([LINE], ""),
    ],
)
async def test_a_bad_cart_points_to_the_field(
    shop: httpx2.AsyncClient, body: Any, pointer: str
) -> None:
    for path in ("/v1/reservations", "/v1/reservations/"):  # the lane, and Litestar
        document = problem(await shop.post(path, json=body), 422, "invalid")
        assert document["errors"][0]["pointer"] == pointer
        assert document["errors"][0]["message"]


@pytest.mark.parametrize(
    ("call", "body", "pointer"),
    [
        ("extend", {"ttl_seconds": 0}, "/ttl_seconds"),
        ("confirm", {}, "/order_id"),
        ("release", {"lines": []}, "/lines"),
        ("fulfil", {"lines": [{"line_id": "1", "quantity": 0}]}, "/lines/0/quantity"),
        ("no-pick", {"line_id": "1", "quantity": 1, "reason": "gone"}, "/reason"),
        (
            "no-pick",
            {"line_id": "1", "quantity": 1, "reason": "damaged", "reassign": True},
            "/reassign",
        ),
    ],
)
async def test_a_bad_change_points_to_the_field(
    shop: httpx2.AsyncClient, call: str, body: dict[str, Any], pointer: str
) -> None:
    answer = await shop.post(f"/v1/reservations/cart-1/{call}", json=body)
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("call", "body", "pointer"),
    [
        ("POST /v1/reservations", '{"lines": [{}], "lines": []}', "/lines/0/sku"),
        ("POST /v1/reservations/", '{"lines": [1, {}], "lines": [1]}', "/lines/0"),
        ("POST /v1/availability", '{"skus": ["A", 5], "skus": ["A"]}', "/skus/1"),
        ("PUT /v1/skus/SKU-1", '{"aliases": {"gtin": 5}, "aliases": []}', "/aliases"),
        ("PUT /v1/skus/SKU-1", '{"aliases": {"gtin": [5]}, "aliases": {"gtin": 5}}', "/aliases"),
    ],
)
async def test_a_name_that_comes_twice_is_pointed_to_where_it_was_refused(
    shop: httpx2.AsyncClient, call: str, body: str, pointer: str
) -> None:
    method, path = call.split()
    document = problem(await shop.request(method, path, content=body), 422, "invalid")
    assert document["errors"][0]["pointer"].startswith(pointer)


async def test_of_a_name_that_comes_twice_the_last_counts(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    """To look for it would be a second reading of every body."""
    await stocked(5)
    for path in ("/v1/reservations", "/v1/reservations/"):
        body = json.dumps({"lines": [LINE]}).replace(
            '"quantity": 1', '"quantity": 1, "quantity": 2'
        )
        answer = await shop.post(path, content=body)
        assert (answer.status_code, answer.json()["lines"][0]["quantity"]) == (201, 2)
    event = json.dumps(stock_event("sale", sku="SKU-1", location="DC-1", quantity=4, unit="EA"))
    answer = await shop.post("/v1/stock-events", content=event[:-2] + ', "quantity": 1}}')
    assert answer.json()["results"][0]["status"] == "applied"
    (item,) = (await shop.get("/v1/availability?sku=SKU-1")).json()["items"]
    assert item["locations"][0]["on_hand"] == 4


async def test_a_body_left_out_is_told_in_the_same_words_everywhere(
    shop: httpx2.AsyncClient,
) -> None:
    calls = [
        *(
            ("POST", path)
            for path in (
                "/v1/reservations",
                "/v1/reservations/",
                "/v1/reservations/cart-1/extend",
                "/v1/availability",
                "/v1/availability/",
                "/v1/stock-events",
            )
        ),
        ("PUT", "/v1/reservations/cart-1"),
        ("PUT", "/v1/skus/SKU-1/locations/DC-1"),
    ]
    answers = [problem(await shop.request(*call), 400, "malformed") for call in calls]
    assert {answer["detail"] for answer in answers} == {"The call needs a body."}


async def test_what_is_wrong_with_the_whole_body_is_said_without_a_pointer(
    shop: httpx2.AsyncClient,
) -> None:
    for path, body in (
        ("/v1/reservations", [LINE]),
        ("/v1/availability", 7),
        ("/v1/stock-events", 7),
        ("/v1/stock-events", [{}] * 1_001),
    ):
        document = problem(await shop.post(path, json=body), 422, "invalid")
        assert document["errors"][0]["pointer"] == ""
        assert document["detail"] == document["errors"][0]["message"]


async def test_a_body_over_the_limit_is_refused_unread(shop: httpx2.AsyncClient) -> None:
    for path, limit in (("/v1/reservations", 65_536), ("/v1/stock-events", 1_048_576)):
        fits = b" " * (limit - 2) + b"{}"
        assert (await shop.post(path, content=fits)).status_code in (200, 422)
        problem(await shop.post(path, content=fits + b" "), 413, "too-large")
    problem(await shop.put("/v1/reservations-of-mine", content=b" " * 65_537), 404, "not-found")


async def test_what_is_not_there_is_a_problem_too(shop: httpx2.AsyncClient) -> None:
    for path in ("/", "/v1", "/v1/policies/p", "/schema/nothing", "/v1/reservations/a/b/c"):
        problem(await shop.get(path), 404, "not-found")


async def test_a_wrong_method_hears_the_right_ones(shop: httpx2.AsyncClient) -> None:
    answer = await shop.delete("/v1/reservations/cart-1")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, PUT"
    problem(await shop.get("/v1/reservations/cart-1/confirm"), 405, "method-not-allowed")
    for method, path, allowed in (
        ("GET", "/v1/reservations", "POST"),
        ("PUT", "/v1/skus", "GET, HEAD"),
        ("OPTIONS", "/v1/skus/SKU-1", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/v1/feeds/pos/store-042", "GET, HEAD, PUT, DELETE"),
    ):
        for slash in ("", "/"):
            answer = await shop.request(method, path + slash)
            problem(answer, 405, "method-not-allowed")
            assert answer.headers["allow"] == allowed


async def test_a_sane_request_id_is_echoed_and_any_other_replaced(shop: httpx2.AsyncClient) -> None:
    for path in ("/v1/availability?sku=SKU-1", "/health/live", "/nowhere"):
        answer = await shop.get(path, headers={"x-request-id": "mine-1"})
        assert answer.headers.get_list("x-request-id") == ["mine-1"]
        answer = await shop.get(path, headers={"x-request-id": "a" * 200})
        assert answer.headers["x-request-id"] != "a" * 200


async def test_a_key_that_cannot_be_kept_is_refused(shop: httpx2.AsyncClient) -> None:
    answer = await shop.post(
        "/v1/reservations", json=cart(), headers={"idempotency-key": "k" * 256}
    )
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/idempotency-key"


async def test_malformed_wins_over_invalid_and_invalid_over_unknown(
    shop: httpx2.AsyncClient, stocked: Stocked
) -> None:
    await stocked(1)
    bad = {"lines": [{"sku": "NOPE", "location": "DC-1", "quantity": 0}]}
    problem(await shop.post("/v1/reservations", content=json.dumps(bad)[:-1]), 400, "malformed")
    problem(await shop.post("/v1/reservations", json=bad), 422, "invalid")
    bad["lines"][0]["quantity"] = 1
    problem(await shop.post("/v1/reservations", json=bad), 422, "unknown-sku")


async def test_a_query_that_is_no_text_is_malformed_and_no_stranger(
    shop: httpx2.AsyncClient,
) -> None:
    for path in ("availability", "availability/", "explain", "exceptions"):  # the lane, Litestar
        for bad in ("%ff", "%c3%28", "a%e2%82"):
            query = f"sku={bad}&location=DC-1&owner={bad}"
            problem(await shop.get(f"/v1/{path}?{query}"), 400, "malformed")
    answer = await shop.get("/v1/availability?sku=Z%C3%A4hler")
    assert [item["sku"] for item in answer.json()["items"]] == ["Zähler"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/explain?sku=SKU-1&location=DC-1&chanel=web", "/chanel"),
        ("/v1/trace/cart-1?at=now", "/at"),
        ("/v1/exceptions?onwer=stores", "/onwer"),
        ("/v1/exceptions?status=opened", "/status"),
        ("/v1/reconciliations?status=done", "/status"),
        ("/v1/skus?page=2", "/page"),
        ("/v1/reservations/cart-1?expand=lines", "/expand"),
    ],
)
async def test_a_mistyped_parameter_is_not_answered_as_another_question(
    shop: httpx2.AsyncClient, path: str, parameter: str
) -> None:
    document = problem(await shop.get(path), 422, "invalid")
    assert [error["pointer"] for error in document["errors"]] == [parameter]


async def test_of_a_list_a_parameter_without_a_value_counts_as_left_out(
    shop: httpx2.AsyncClient,
) -> None:
    for path, empty in (
        ("/v1/exceptions", "owner=&kind=&status="),
        ("/v1/exceptions", "cursor=&limit=&status"),
        ("/v1/reconciliations", "cursor=&limit="),
        *((f"/v1/{kind}", "limit=&cursor=") for kind in ("skus", "locations", "channels", "feeds")),
    ):
        answer = await shop.get(f"{path}?{empty}")
        assert (answer.status_code, answer.json()) == (200, (await shop.get(path)).json())
    # Of a number it would be another question.
    for path in ("/v1/availability", "/v1/availability/", "/v1/explain"):
        query = "sku=SKU-1&location=DC-1&channel="
        document = problem(await shop.get(f"{path}?{query}"), 422, "invalid")
        assert document["errors"][0]["pointer"].startswith("/channel")


async def test_a_cursor_of_another_list_is_refused(shop: httpx2.AsyncClient) -> None:
    for path in ("/v1/exceptions", "/v1/reconciliations"):
        for cursor in ("last", "-1", "٣", "9" * 19, "0" * 64):
            document = problem(await shop.get(path, params={"cursor": cursor}), 422, "invalid")
            assert document["errors"][0]["pointer"] == "/cursor"


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:3000"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://localhost:3000", "host": "localhost:8080"}, True),
        # A name that was made to lead here.
        ({"origin": "http://evil.example:8080", "host": "evil.example:8080"}, True),
        ({"origin": "http://127.0.0.1.evil.example", "host": "127.0.0.1.evil.example"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://atp.example"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://localhost:8080", "host": "localhost:8080"}, False),
        ({"origin": "http://127.0.0.1", "host": "127.0.0.1"}, False),
        ({"origin": "http://[::1]:8080", "host": "[::1]:8080"}, False),
        ({"content-type": "application/x-www-form-urlencoded"}, False),
        ({"content-type": "text/plain"}, False),
        ({}, False),
    ],
)
async def test_a_web_page_of_another_origin_changes_nothing(
    shop: httpx2.AsyncClient, stocked: Stocked, headers: dict[str, str], foreign: bool
) -> None:
    await stocked(5)
    for method, path, body in (
        ("POST", "/v1/reservations", cart("lane")),
        ("POST", "/v1/reservations/", cart("route")),
        ("POST", "/v1/stock-events", []),
        ("PUT", "/v1/channels/x", {}),
        ("DELETE", "/v1/channels/x", None),
    ):
        content = None if body is None else json.dumps(body)
        answer = await shop.request(method, path, content=content, headers=headers)
        if foreign:
            problem(answer, 403, "cross-origin")
        else:
            assert answer.is_success, answer.text
    assert (await shop.get("/v1/availability?sku=SKU-1", headers=headers)).status_code == 200


async def test_shop_pages_and_monitors_may_add_what_they_like(shop: httpx2.AsyncClient) -> None:
    for path in ("/v1/availability", "/v1/availability/", "/health/ready", "/metrics"):
        answer = await shop.get(f"{path}?sku=SKU-1&_=1764000000")
        assert answer.status_code == 200, answer.text
