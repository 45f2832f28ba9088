"""`atp rehearse` on real processes: a verdict, also with a fault in mid-sale, or a line why not."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from atp_service.cli import rehearse as command
from atp_service.config import SettingsError
from tests.embedded.atp_up import Up
from tests.rehearse.rehearse_command import SCALE, audited, figures, refused, rehearse, tiny

NOTHING = dict.fromkeys(
    ("oversold", "promised_beyond", "lost", "doubled", "unaccounted", "redis"), 0
)


def test_a_small_sale_is_held_on_what_runs_and_every_unit_is_accounted_for(
    up: Up, tmp_path: Path
) -> None:
    said = tmp_path / "figures.json"
    done = rehearse(
        str(tiny(tmp_path)), "--scale", SCALE, "--json", str(said), ATP_DATA=str(up.data)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict" in done.stdout
    found = figures(said)
    assert audited(found) == NOTHING
    assert found["buyers"] == 200
    assert found["audit"]["entries"] > 100
    measures = found["measures"]
    assert measures["refused_share"] > 0.2
    assert all(seconds is not None for seconds in measures["sold_out"].values())
    assert measures["errors"]["calls"] == {}
    classes = {(one["phase"], one["kind"]) for one in measures["latencies"]}
    assert {("plateau", kind) for kind in ("browse", "accepted", "refused", "facts")} <= classes


def test_nats_paused_in_mid_sale_costs_no_till_a_sale(up: Up, tmp_path: Path) -> None:
    said = tmp_path / "figures.json"
    words = [str(tiny(tmp_path)), "--scale", SCALE, "--fault", "pause-nats", "--json", str(said)]
    done = rehearse(*words, ATP_DATA=str(up.data))
    assert done.returncode == 0, done.stdout + done.stderr
    found = figures(said)
    assert audited(found) == NOTHING
    assert found["window"]["name"] == "pause-nats"
    assert "back after pause-nats" in done.stdout
    (facts,) = [
        one
        for one in found["measures"]["latencies"]
        if (one["phase"], one["kind"]) == ("fault", "facts")
    ]
    assert facts["p999"] > 500, "no till felt the pause"


def test_without_a_service_one_is_started_and_survives_a_killed_redis(tmp_path: Path) -> None:
    said, report = tmp_path / "figures.json", tmp_path / "sale.html"
    data = tmp_path / "data"
    words = [str(tiny(tmp_path)), "--scale", SCALE, "--fault", "kill-redis"]
    words += ["--json", str(said), "--report", str(report)]
    done = rehearse(*words, ATP_DATA=str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    found = figures(said)
    assert audited(found) == NOTHING
    assert found["measures"]["errors"]["fault_attempts"], "nobody felt the fault"
    assert list(data.iterdir()) == [], "something is left of the service of its own"
    page = report.read_text("utf-8")
    assert "<svg" in page
    assert 'src="' not in page
    assert "<link" not in page
    assert report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_scenario_with_a_mistake_is_refused_by_its_line(tmp_path: Path) -> None:
    file = tiny(tmp_path)
    file.write_text(file.read_text("utf-8").replace("units = 400", "units = -4"), "utf-8")
    assert refused(str(file), ATP_DATA=str(tmp_path)).startswith(f"atp: {file}:6: sale.units")


def test_a_service_that_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    line = refused(str(tiny(tmp_path)), ATP_DATA="/proc/nowhere")
    assert "none can be started in /proc/nowhere" in line


def test_a_service_pointed_at_is_not_replaced_by_another(tmp_path: Path) -> None:
    line = refused(
        str(tiny(tmp_path)),
        ATP_DATA=str(tmp_path / "data"),
        ATP_PORT="1",
        ATP_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
    )
    assert "no service answers at http://127.0.0.1:1" in line
    assert "ATP_PORT" in line


def test_an_api_without_its_ledger_cannot_be_audited(up: Up, tmp_path: Path) -> None:
    url = up.runs().url
    line = refused(str(tiny(tmp_path)), "--api", url, ATP_DATA=str(tmp_path / "data"))
    assert "ATP_DATABASE_URL is not set" in line


def test_a_fault_needs_a_supervisor_to_mend_it(up: Up, tmp_path: Path) -> None:
    there = up.runs()
    words = [str(tiny(tmp_path)), "--api", there.url, "--fault", "kill-api"]
    line = refused(*words, ATP_DATA=str(tmp_path / "data"), ATP_DATABASE_URL=there.database_url)
    assert "--fault kill-api needs an `atp up`" in line


def test_without_the_plots_library_a_report_is_refused_before_anybody_buys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = CliRunner().invoke(
        command.command, [str(tiny(tmp_path)), "--report", str(tmp_path / "sale.html")]
    )
    assert isinstance(result.exception, SettingsError)
    assert "Install atp-service[rehearse]" in str(result.exception)
