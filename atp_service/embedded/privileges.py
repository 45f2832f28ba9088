"""PostgreSQL refuses to run as root, so where we are root it runs as nobody.

Best in a user namespace, where our files still count as its own. Where those are refused (many
containers), as the real `nobody`, who is let past file permissions: the program and the data may
lie in root's home.
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
    """How a program is started so that it isn't root, and who owns its files then."""

    kind: str
    owner: int
    group: int

    @classmethod
    def find(cls) -> "Unprivileged":
        if os.geteuid() != 0:
            return cls("ourselves", os.geteuid(), os.getegid())
        namespace = cls("namespace", 0, 0)
        nobody = pwd.getpwnam("nobody")
        other_user = cls("nobody", nobody.pw_uid, nobody.pw_gid)
        for user in (namespace, other_user):
            if user.works():
                return user
        raise CannotStart(
            "PostgreSQL can't run as root, and neither unshare nor setpriv works here",
            "start as another user, or set ATP_DATABASE_URL to a server that runs already",
        )

    def prefix(self, orphaned_by: signal.Signals) -> list[str]:
        """What to put before a command; changing user forgets the signal, so it is set here too."""
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
        """Hand `folder` over, if it was somebody else's: the server insists on owning its data."""
        if folder.stat().st_uid == self.owner:
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.owner, self.group, follow_symlinks=False)

    def works(self) -> bool:
        """Whether this machine lets us."""
        prefix = self.prefix(signal.SIGKILL)
        if shutil.which(prefix[0]) is None:
            return False
        tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
        return tried.returncode == 0
