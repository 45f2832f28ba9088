"""The report: one HTML page that needs nothing beside it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from atp_service.rehearse.measures import FAULT
from atp_service.rehearse.run import Rehearsal
from atp_service.rehearse.table import title, told

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #eee; }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
.held {{ color: #1b7f45; font-weight: 600; }} .failed {{ color: #c0392b; font-weight: 600; }}
.unsaid {{ color: #a06a00; }} .remark {{ background: #fff6e0; padding: .5rem .8rem; }}
svg {{ max-width: 100%; height: auto; }}
</style>
<h1>{title}: {verdict}</h1>
<p>{when}, on {url}, run {run}.</p>
{remarks}
<h2>The verdict</h2>
<table>{checks}</table>
{examples}
<h2>How it went</h2>
{svg}
<table>{told}</table>
<h2>Latency, in milliseconds</h2>
<table><tr><th>phase<th>calls<th class="n">count<th class="n">p50<th class="n">p95<th class="n">p99
<th class="n">p99.9</tr>{latencies}</table>
<h2>How this was measured</h2>
<p>Arrivals are open loop: every buyer's moment was worked out before the first one came, and no
answer, however late, moves it. Latency counts from the moment a call was due, not from when it
could be sent. A service that stalls can therefore neither slow the load down nor hide its stall
behind it, which is known as coordinated omission. Within a visit, a click is due once the answer
before it has come and the buyer has thought. A call that got a timeout, a reset or a 5xx is sent
again with the same id, and its latency runs on until the definite answer.</p>
<p><i>browse</i> are answers on availability, <i>accepted</i> are holds, changes and confirms
answered 2xx, <i>refused</i> those answered 409, <i>facts</i> the stock events of the
operations: shipments over HTTP until they are applied, tills over NATS, where that is known, until
the stream has them.
Calls that a fault fell into are a phase of their own.</p>
<p>The audit reads the ledger's entries one by one and follows every level and reservation from
image to image; beside that it adds up what the buyers wrote down themselves. The service is not
asked how it went, except for what Redis holds in the end, which must be what the ledger had at the
same version.</p>
<p>Who is first is decided by the service, not by the moment a buyer was due: walked-away carts
lapse, and whoever asks then may win though others asked before.</p>
</html>
"""


def page(rehearsal: Rehearsal, svg: str) -> str:
    """The whole page."""
    history, verdict = rehearsal.history, rehearsal.verdict
    when = datetime.fromtimestamp(history.started_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _PAGE.format(
        title=escape(title(rehearsal)),
        verdict=_mark(verdict.held),
        when=when,
        url=escape(rehearsal.url),
        run=escape(history.goods.run),
        remarks="".join(f'<p class="remark">{escape(remark)}</p>' for remark in verdict.remarks),
        checks="".join(
            _row(escape(check.words), _number(check.found), _cell(_mark(check.held)))
            for check in verdict.checks
        ),
        examples=_examples(rehearsal),
        svg=svg,
        told="".join(_row(escape(words), _cell(escape(found))) for words, found in told(rehearsal)),
        latencies="".join(_latencies(rehearsal)),
    )


def _latencies(rehearsal: Rehearsal) -> Iterable[str]:
    for one in rehearsal.measures.latencies:
        phase = rehearsal.fault if one.phase == FAULT and rehearsal.fault else one.phase
        figures = (f"{figure:,.1f}" for figure in (one.p50, one.p95, one.p99, one.p999))
        cells = [_number(figure) for figure in (f"{one.count:,}", *figures)]
        yield _row(escape(phase), _cell(one.kind), *cells)


def _examples(rehearsal: Rehearsal) -> str:
    found = [example for figure in rehearsal.audit.figures for example in figure.examples]
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in found) + "</ul>" if found else ""


def _mark(held: bool | None) -> str:
    if held is None:
        return '<span class="unsaid">can\'t be said</span>'
    return '<span class="held">held</span>' if held else '<span class="failed">failed</span>'


def _row(first: str, *cells: str) -> str:
    return f"<tr><td>{first}</td>{''.join(cells)}</tr>"


def _cell(content: str) -> str:
    return f"<td>{content}</td>"


def _number(content: str) -> str:
    return f'<td class="n">{escape(content)}</td>'
