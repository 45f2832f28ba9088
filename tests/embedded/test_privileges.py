"""PostgreSQL never runs as root, and runs all the same where we are root."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from atp_service.embedded.postgres import SERVICE, Postgres
from atp_service.embedded.privileges import Unprivileged
from atp_service.embedded.servers import running, socket_folder

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root's troubles are root's")


@only_as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_data_made_in_a_user_namespace_opens_where_those_are_refused_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("setpriv", "true"):
        (programs / name).symlink_to(shutil.which(name) or name)
    everything = os.environ["PATH"]
    for path in (everything, str(programs), everything):
        monkeypatch.setenv("PATH", path)
        server = Postgres(tmp_path, socket_folder(tmp_path))
        with running([server]), psycopg.connect(server.url(SERVICE)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (SERVICE,)
    monkeypatch.setenv("PATH", str(programs))
    assert Unprivileged.find().kind == "nobody"


@pytest.mark.skipif(os.geteuid() == 0, reason="for everybody else")
def test_who_is_not_root_stays_who_they_are() -> None:
    assert Unprivileged.find().kind == "ourselves"
