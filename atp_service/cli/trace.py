"""`atp trace`: all entries and exceptions of an id."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import rich_click as click

from atp_service.cli.api_client import api_option, ask
from atp_service.cli.output import json_option, print_json

if TYPE_CHECKING:
    from rich.table import Table

_IDS = ("reservation_id", "order_id", "shipment_id", "document", "erp_document")
_NAMED = (*_IDS, "source", "event_id", "reason", "traceparent")


@click.command("trace")
@click.argument("id_", metavar="ID")
@api_option
@json_option("answer")
def command(id_: str, api: str | None, as_json: bool) -> None:
    """Show the history of an id: a reservation, order, shipment, document or event.

    Exits with 1 for an unknown id, with 2 if there is no answer.
    """
    answer = ask(api, f"/v1/trace/{quote(id_, safe='')}")

    from rich.console import Console

    if as_json:
        print_json(answer)
        return
    console = Console()
    console.print(_table(answer))
    for case in answer["exceptions"]:
        what = f"{case['kind']} {case['reference'] or ''} {case['detail']}"
        line = f"{case['status']} exception {case['id']} for {case['owner']}: {what}"
        console.print(line, style="red", markup=False, highlight=False)
    if answer["truncated"]:
        console.print("There is more: only the first entries are shown.", style="yellow")


def _table(answer: dict[str, Any]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    found_as = " and ".join(answer["found_as"])
    table = Table(title=escape(f"{answer['id']}: {found_as}"), title_justify="left")
    table.add_column("at", no_wrap=True)
    table.add_column("entry", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("of", overflow="fold")
    table.add_column("afterwards", overflow="fold")
    for entry in answer["entries"]:
        table.add_row(
            entry["at"],
            f"{entry['seq']:,}",
            escape(entry["kind"]),
            escape("\n".join(f"{name} {entry[name]}" for name in _NAMED if name in entry)),
            escape("\n".join([*_statuses(entry), *map(_level, entry["levels"])])),
        )
    return table


def _statuses(entry: dict[str, Any]) -> list[str]:
    if "status" in entry:
        outcome = f" ({entry['outcome']})" if entry.get("outcome") else ""
        return [f"{entry['status']}{outcome}"]
    return [f"{key} {status}" for key, status in entry.get("statuses", {}).items()]


def _level(level: dict[str, Any]) -> str:
    moved = f" {level['on_hand_delta']:+,}" if level["on_hand_delta"] else ""
    return (
        f"{level['sku']} at {level['location']}{moved}: on_hand {level['on_hand']:,}, "
        f"reserved {level['reserved']:,}, allocated {level['allocated']:,}"
    )
