"""PostgreSQL refuses to run as root; if we are root it runs as the user `nobody`.

Best in a user namespace, in which our files still count as its own. Many containers refuse those.
There it runs as the real `nobody`, and file permissions do not stop it: the program and the data
may lie in root's home.
"""

import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from atp_service.embedded.errors import CannotStart

_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


@dataclass(frozen=True)
class Unprivileged:
    """A way to start a program without root, and the owner of its files."""

    kind: str
    owner: int
    group: int

    @classmethod
    def find(cls) -> "Unprivileged":
        """The first way that works on this machine. Raises CannotStart if none does."""
        if os.geteuid() != 0:
            return cls("ourselves", os.geteuid(), os.getegid())
        nobody = pwd.getpwnam("nobody")
        for user in (cls("namespace", 0, 0), cls("nobody", nobody.pw_uid, nobody.pw_gid)):
            if user.works():
                return user
        raise CannotStart(
            "PostgreSQL can't run as root, and neither unshare nor setpriv works here",
            "start as another user, or set ATP_DATABASE_URL to a server that runs already",
        )

    def prefix(self, orphaned_by: signal.Signals) -> list[str]:
        """The words before a command; a change of user clears the signal, so they set it."""
        match self.kind:
            case "namespace":
                return list(_NAMESPACE)
            case "nobody":
                return [
                    "setpriv",
                    *("--reuid", str(self.owner), "--regid", str(self.group), "--clear-groups"),
                    *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
                    *("--pdeathsig", orphaned_by.name.removeprefix("SIG")),
                    "--",
                ]
            case _:
                return []

    def own(self, folder: Path) -> None:
        """Make `folder` the program's own, if it is not: the server insists on owning its data."""
        if folder.stat().st_uid == self.owner:
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.owner, self.group, follow_symlinks=False)

    def works(self) -> bool:
        """True if this machine allows it."""
        prefix = self.prefix(signal.SIGKILL)
        if shutil.which(prefix[0]) is None:
            return False
        return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
