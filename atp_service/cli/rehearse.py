"""`atp rehearse`: a flash sale before the real one, with a verdict."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import rich_click as click

from atp_service.cli.api_client import api_option
from atp_service.cli.output import STOPPED, fail
from atp_service.config import SettingsError, read_settings
from atp_service.rehearse.faults import FAULTS, Fault

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("rehearse")
@click.argument("scenario", type=_FILE)
@click.option(
    "--scale",
    type=click.FloatRange(min=0, min_open=True, max=100),
    default=1.0,
    show_default=True,
    help="Shrinks buyers, units and rates alike; times stay.",
)
@click.option("--fault", type=click.Choice(FAULTS), help="The fault, early in the plateau.")
@api_option
@click.option("--json", "json_path", type=_FILE, metavar="FILE", help="All figures, as JSON.")
@click.option(
    "--report",
    type=_FILE,
    metavar="FILE.html",
    help="One page with plots that needs nothing else, and the plots as FILE.png beside it.",
)
def command(
    scenario: Path,
    scale: float,
    fault: Fault | None,
    api: str | None,
    json_path: Path | None,
    report: Path | None,
) -> None:
    """Sell a scenario's goods to its buyers, then audit every unit from the ledger.

    Uses the service that runs on ATP_DATA, or the one that ATP_HOST, ATP_PORT and ATP_DATABASE_URL
    name; if there is none, a temporary one of its own. Exits with 0 for a good verdict, with 1 for
    a bad one, with 2 if there is none.
    """
    settings = read_settings(os.environ)
    for file in (json_path, report):
        if file is not None and not file.parent.is_dir():
            raise SettingsError(f"{file.parent} is not a folder\nNothing can be written to {file}.")
    if report is not None and find_spec("matplotlib") is None:
        raise SettingsError(
            f"{report} can't be drawn: matplotlib is not installed\n"
            "Install atp-service[rehearse]; in a checkout, make env."
        )

    from rich.console import Console

    from atp_service.progress import view
    from atp_service.rehearse import CannotRehearse
    from atp_service.rehearse.run import rehearse
    from atp_service.rehearse.scenario import ScenarioError, load_scenario
    from atp_service.rehearse.summary import as_json, tables
    from atp_service.rehearse.target import target

    # At SIGTERM it stops all that it has started, as at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True)
    try:
        sale = load_scenario(scenario).scaled(scale)
        with view(console) as watching, target(settings, os.environ, api) as found:
            rehearsal = rehearse(sale, found, scale=scale, fault=fault, view=watching)
    except (ScenarioError, CannotRehearse) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("stopped: there is no verdict", STOPPED)
    Console().print(tables(rehearsal))
    if json_path is not None:
        json_path.write_bytes(as_json(rehearsal))
    if report is not None:
        from atp_service.rehearse.plots import draw
        from atp_service.rehearse.report import page

        svg, png = draw(rehearsal)
        report.write_text(page(rehearsal, svg), "utf-8")
        report.with_suffix(".png").write_bytes(png)
    sys.exit(0 if rehearsal.verdict.held else 1)
