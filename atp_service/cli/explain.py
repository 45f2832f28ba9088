"""`atp explain`: the reasons for a number."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from atp_service.cli.api_client import api_option, ask
from atp_service.cli.output import json_option, print_json

if TYPE_CHECKING:
    from rich.table import Table

# The ids that name an entry's cause, the most helpful first.
_WHOSE = ("order_id", "reservation_id", "document", "erp_document", "shipment_id", "reason")


@click.command("explain")
@click.argument("sku")
@click.argument("location")
@click.option("--channel", metavar="ID", help="The channel's view; by default that of no channel.")
@click.option("--at", metavar="TIME", help="A moment in the past (RFC 3339); by default now.")
@click.option("--limit", type=click.IntRange(1, 100), default=5, show_default=True)
@api_option
@json_option("answer")
def command(
    sku: str,
    location: str,
    channel: str | None,
    at: str | None,
    limit: int,
    api: str | None,
    as_json: bool,
) -> None:
    """Take the number that can be sold apart: the terms, and the entries behind each.

    Exits with 1 for an unknown SKU or location, with 2 if there is no answer.
    """
    query = {"sku": sku, "location": location, "channel": channel, "at": at, "limit": str(limit)}
    answer = ask(api, "/v1/explain", {name: value for name, value in query.items() if value})

    from rich.console import Console

    if as_json:
        print_json(answer)
    else:
        Console().print(_table(answer))


def _table(answer: dict[str, Any]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    where = f"{answer['sku']} at {answer['location']}"
    view = f" on {answer['channel']}" if answer["channel"] else ""
    title = f"{where}{view}, {answer['as_of']}: {answer['ats']:,} to sell"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("term")
    table.add_column("units", justify="right")
    table.add_column("after", justify="right")
    table.add_column("behind it", overflow="fold")
    for place, term in enumerate(answer["terms"]):
        sign = "-" if term["units"] and 0 < place < len(answer["terms"]) - 1 else ""
        figures = (f"{sign}{term['units']:,}", f"{term['after']:,}")
        behind = escape("\n".join([*_grounds(term), *map(_line, term["entries"])]))
        style = "bold" if term["term"] == "ats" else None
        table.add_row(term["term"], *figures, behind, style=style)
    if answer["shortage"]:
        table.caption = f"{answer['shortage']:,} short"
    return table


def _grounds(term: dict[str, Any]) -> Iterator[str]:
    """The reasons for a term in master data or in the states of units."""
    since = f", since {term['since']}" if "since" in term else ""
    if "policy" in term:
        yield f"the {term['policy']}'s{since}"
    if "reason" in term:
        yield f"{term['reason']}{since}"
    for state, units in term.get("states", {}).items():
        yield f"{state} {units:,}"


def _line(entry: dict[str, Any]) -> str:
    source = f" {entry['source']} {entry['event_id']}" if "source" in entry else ""
    whose = "".join(f" {entry[name]}" for name in _WHOSE if name in entry)
    happened = entry.get("occurred_at", entry["at"])
    of = "" if happened == entry["at"] else f" of {happened}"
    change = f"{entry['at']} {entry['units']:+,} {_kind(entry)}{of}"
    return f"{change}{source}{whose} (entry {entry['seq']})"


def _kind(entry: dict[str, Any]) -> str:
    """The entry's kind; of a repair also the value it found, which no other entry explains."""
    if "found" not in entry:
        return str(entry["kind"])
    found = "nothing readable" if entry["found"] is None else f"{entry['found']:,}"
    return f"repair: it was changed to {found} by hand, set back to {entry['after']:,}"
