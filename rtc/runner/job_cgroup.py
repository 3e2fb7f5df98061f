"""A cgroup for the processes of one job, where this user may make one (cgroup v2, Linux; cgroups(7)).

All that a process in it starts is in it too, and the kernel kills them all at once, also while they fork. Code of a job
that knows of it can still move itself out, as it runs as the same user. It is made below the worker's own cgroup, so
limits that somebody has set for the worker hold for the job too. A systemd service has one that it may divide with
`Delegate=yes`; in most containers nobody has, and then there is none.

The name is made from the path of the job's folder, so that the next worker finds it when the supervisor was killed.
"""

import hashlib
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("rtc.cgroup")

PREFIX = "sleap-rtc-"
_MOUNTS, _OWN = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")


def make_cgroup(folder: Path) -> Path | None:
    """Make the cgroup of the job of this folder and return its folder; None where that is not possible."""
    mount, own = _find_mount(), _find_own()
    if mount is None or own is None:
        return None
    cgroup = mount / own.lstrip("/") / _name(folder)
    try:
        cgroup.mkdir(exist_ok=True)
    except OSError:
        return None
    if not os.access(cgroup / "cgroup.procs", os.W_OK):
        remove_cgroup(cgroup)
        return None
    return cgroup


def find_cgroups(folder: Path) -> list[Path]:
    """Return the cgroups of the job of this folder: there may be one below the cgroup of an earlier worker."""
    mount, name = _find_mount(), _name(folder)
    if mount is None:
        return []
    return [Path(parent) / name for parent, children, _ in os.walk(mount) if name in children]


def add_process(cgroup: Path, pid: int) -> None:
    """Move a process into a cgroup; those that it starts from now on are in it too."""
    try:
        (cgroup / "cgroup.procs").write_text(str(pid))
    except ProcessLookupError:
        pass  # it has ended already
    except OSError as error:
        log.info("a process could not be moved to the cgroup %s: %s", cgroup.name, error.strerror)


def kill_cgroup(cgroup: Path) -> None:
    """Kill all processes of a cgroup: at once by `cgroup.kill`, or one by one before Linux 5.14.

    This process is left out. It is in there only if the job's code has put it there.
    """
    pids = _read_pids(cgroup)
    if os.getpid() not in pids:
        with suppress(OSError):
            (cgroup / "cgroup.kill").write_text("1")
            return
    for pid in set(pids) - {os.getpid()}:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup that has no processes any more."""
    with suppress(OSError):  # one of its processes has not ended yet; an empty cgroup that is left does no harm
        cgroup.rmdir()


def _read_pids(cgroup: Path) -> list[int]:
    try:
        return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except (OSError, ValueError):
        return []


def _name(folder: Path) -> str:
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape"))
    return PREFIX + digest.hexdigest()[:20]


def _find_mount() -> Path | None:
    """Return where the hierarchy of cgroup v2 is mounted; None where it is not."""
    with suppress(OSError):
        for line in _MOUNTS.read_text(errors="surrogateescape").splitlines():
            # … root, mount point, options …, a dash, the file system's type (proc_pid_mountinfo(5))
            fields, _, rest = line.partition(" - ")
            _, _, _, root, point, *_ = fields.split()
            if rest.split()[:1] == ["cgroup2"] and root == "/":
                return Path(point)
    return None


def _find_own() -> str | None:
    """Return the path of this process's cgroup below the mount."""
    with suppress(OSError):
        for line in _OWN.read_text(errors="surrogateescape").splitlines():
            if line.startswith("0::"):
                return line.removeprefix("0::")
    return None
