"""NATS with JetStream: the events that arrive, kept until they are in the ledger."""

import json
import shutil
import socket
from pathlib import Path

from atp_service.embedded import binaries
from atp_service.embedded.orphans import end_orphans
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

    def __init__(self, data: Path, program: str | Path | None = None) -> None:
        self._program = binaries.find(WANTED, program, binaries.beside_python("nats-server"))
        self._folder = data / f"nats-{self._program.major}"
        self._ports = self._folder / "ports"
        self._log = data / "logs" / "nats.log"
        self._port = -1

    @property
    def url(self) -> str:
        """The address; LookupError before the server is ready, as the system chooses the port."""
        address = self._address()
        if address is None:
            raise LookupError("nats-server has not written its port yet")
        return f"nats://{address}"

    def start(self) -> Child:
        self._folder.mkdir(parents=True, exist_ok=True)
        end_orphans(self._folder)
        # The file of a killed server would be read as the new one's port.
        shutil.rmtree(self._ports, ignore_errors=True)
        self._ports.mkdir()
        command: list[str | Path] = [
            self._program.path,
            *("--addr", "127.0.0.1", "--port", str(self._port), "--ports_file_dir", self._ports),
            *("--jetstream", "--store_dir", self._folder),
        ]
        return Child("nats", command, log=self._log, folder=self._folder)

    def ready(self) -> bool:
        """True once it greets, which is after it has recovered its streams."""
        address = self._address()
        if address is None:
            return False
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=1) as connection:
                greeted = connection.recv(5) == b"INFO "
        except OSError:
            return False
        # After a restart its clients look for it on the same port.
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
