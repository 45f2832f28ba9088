"""NATS with JetStream: the events that arrive, kept until they are in the ledger."""

import json
import shutil
import socket
from pathlib import Path

from atp_service.embedded import binaries
from atp_service.embedded.orphans import end_leftovers
from atp_service.processes.child import Child

WANTED = binaries.Wanted(
    name="nats-server",
    setting="ATP_NATS_SERVER",
    url_setting="ATP_NATS_URL",
    on_path=("nats-server",),
    at_least=(2, 12, 3),
)


class Nats:
    """A server with its streams under `data`, on a free loopback port."""

    def __init__(self, data: Path, program: Path | None = None) -> None:
        self._program = binaries.find(WANTED, program, binaries.beside_python("nats-server"))
        self._folder = data / f"nats-{self._program.major}"
        self._ports = self._folder / "ports"
        self._log = data / "logs" / "nats.log"
        self._port = -1

    @property
    def url(self) -> str:
        """Known once it is ready: the port is the system's choice."""
        address = self._address()
        if address is None:
            raise LookupError("nats-server has not said yet where it listens")
        return f"nats://{address}"

    def start(self) -> Child:
        self._folder.mkdir(parents=True, exist_ok=True)
        end_leftovers(self._folder)
        # What a killed server left here would be read as the new one's port.
        shutil.rmtree(self._ports, ignore_errors=True)
        self._ports.mkdir()
        command: list[str | Path] = [
            self._program.path,
            *("--addr", "127.0.0.1", "--port", str(self._port), "--ports_file_dir", self._ports),
            *("--jetstream", "--store_dir", self._folder),
        ]
        return Child("nats", command, log=self._log, folder=self._folder)

    def ready(self) -> bool:
        """Whether it greets: it does when its streams are recovered."""
        address = self._address()
        if address is None:
            return False
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=1) as connection:
                greeted = connection.recv(5) == b"INFO "
        except OSError:
            return False
        # Should it have to be started again, its clients look for it where it was.
        self._port = int(port)
        return greeted

    def _address(self) -> str | None:
        for file in self._ports.glob("*.ports"):
            try:
                addresses = json.loads(file.read_text())["nats"]
            except (ValueError, KeyError):
                return None
            return str(addresses[0]).removeprefix("nats://")
        return None
