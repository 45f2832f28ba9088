"""The report: the tables and the plots on one HTML page that needs no other file."""

import io
from datetime import UTC, datetime
from html import escape

from rich.console import Console

from atp_service.rehearse.run import Rehearsal
from atp_service.rehearse.summary import tables, title

_COLUMNS = 110
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
pre {{ font: 13px/1.25 monospace; overflow-x: auto; }} svg {{ max-width: 100%; height: auto; }}
</style>
<h1>{title}: {verdict}</h1>
<p>{when}, on {url}, run {run}.</p>
<pre>{tables}</pre>
{svg}
<h2>How this was measured</h2>
<p>The moment of every arrival was computed before the first buyer came, and no answer moves it.
Latency counts from the moment a call was due: a stall can neither slow the load down nor hide
behind it. After a timeout, a reset or a 5xx a call is retried with the same id, and its latency
runs on until the definite answer.</p>
<p><i>browse</i> are answers on availability; <i>accepted</i> are holds, changes and confirms
answered 2xx, <i>refused</i> those answered 409. <i>facts</i> are stock events: over HTTP until they
are applied, over NATS until the stream has them. Calls during a fault are a phase of their own.</p>
<p>The audit follows every level and reservation through the ledger's entries, and adds up the
buyers' own records. The service's word does not count, except for Redis at the end: its figures
must equal the ledger's at the same version.</p>
<p>Abandoned carts lapse: a later buyer may win units that earlier buyers were refused.</p>
</html>
"""


def page(rehearsal: Rehearsal, svg: str) -> str:
    """The page as HTML; `svg` has the plots."""
    console = Console(record=True, file=io.StringIO(), width=_COLUMNS)
    console.print(tables(rehearsal))
    history = rehearsal.history
    return _PAGE.format(
        title=escape(title(rehearsal)),
        verdict="held" if rehearsal.verdict.held else "failed",
        when=datetime.fromtimestamp(history.started_at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        url=escape(rehearsal.url),
        run=escape(history.names.run),
        tables=console.export_html(inline_styles=True, code_format="{code}"),
        svg=svg,
    )
