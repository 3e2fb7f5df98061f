"""Our own source as a developer of the future may have changed it: it speaks the next version of the protocol.

`write_future` copies the source and makes the changes that this version needs, in the ways that `protocol/version.py`
describes. The programs of the copy run with its folder as PYTHONPATH. Each change replaces a text that the source has
exactly once; who changes such a text in the source changes it here, too. What today's version and the next one are
follows from `VERSIONS`, so it may be raised without a change here.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from protocol.version import VERSIONS

ROOT = Path(__file__).parents[2]
SOURCE = ("protocol", "actors", "rtc", "cli.py", "config.example.toml")
TODAY, NEXT = VERSIONS.newest, VERSIONS.newest + 1
"""Today's newest version, and that of the future."""
PRIORITY, CORES, NOTE = 7, 48, "a note of the future"
"""What programs of the future say in their new fields and messages."""

IMPORTS = re.compile(r"^(?=from |import )", re.MULTILINE)
"""Where an import is added to a module: before its first one."""
Replacements = tuple[tuple[str | re.Pattern[str], str], ...]
"""Texts that a file has exactly once, and what replaces them; `IMPORTS`, and what is added there."""

FIELDS: Mapping[str, Replacements] = {
    "protocol/link.py": (
        (IMPORTS, "from protocol.version import since\n"),
        (
            "    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)\n",
            "    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)\n"
            f'    program: str = field(default="sleap-rtc", metadata=since({NEXT}))\n',
        ),
    ),
    "protocol/status.py": (
        (IMPORTS, "from protocol.version import OLDER_VALUES, since\n"),
        ("class Role(Enum):", f"OLDER_VALUES[Status.IDLE] = ({NEXT}, Status.AVAILABLE)\n\n\nclass Role(Enum):"),
        ('    AVAILABLE = "available"\n', '    AVAILABLE = "available"\n    IDLE = "idle"\n'),
        (
            "    leaving: bool = False\n",
            f"    cores: int = field(default=0, validator=Integer(0, 4096), metadata=since({NEXT}), kw_only=True)\n"
            "    leaving: bool = False\n",
        ),
    ),
    "rtc/worker/program.py": (
        ("        status=Status.AVAILABLE,\n", f"        status=Status.IDLE,\n        cores={CORES},\n"),
    ),
}
"""A field of `Hello` and one of `WorkerFacts`; and a status, which a worker has until its first job."""

JOBS: Mapping[str, Replacements] = {
    "protocol/jobs.py": (
        (IMPORTS, "from protocol.version import since, spoken\n"),
        (
            '    """Settings changed for this job, in Hydra\'s syntax',
            f"    priority: int = field(default=0, validator=Integer(0, 9), metadata=since({NEXT}), kw_only=True)\n"
            '    """Settings changed for this job, in Hydra\'s syntax',
        ),
        ("@frozen\nclass ModelTrained:", f"@spoken(until={TODAY})\n@frozen\nclass ModelTrained:"),
        (
            "JobNews = (\n",
            f"@spoken(since={NEXT})\n@frozen\nclass ModelSaved:\n"
            '    """Worker to client: the training of one model has ended, and the model is saved."""\n\n'
            "    job: JobId = field(validator=Id())\n    model: int = field(validator=Integer(0, MODELS_MAX))\n\n\n"
            "JobNews = (\n    ModelSaved\n    | ",
        ),
        (
            "JobRequest = AttachJob | ",
            f"@spoken(since={NEXT})\n@frozen\nclass NoteJob:\n"
            '    """Client to worker: I own this job; note this about it. Answered by `JobState`."""\n\n'
            "    job: JobId = field(validator=Id())\n    key: str = field(validator=SingleLine(), repr=False)\n"
            "    note: str = field(validator=SingleLine())\n\n\n"
            "JobRequest = NoteJob | AttachJob | ",
        ),
    ),
    "rtc/sleap_nn/zmq_progress.py": (
        (IMPORTS, "from protocol.jobs import ModelSaved\n"),
        (
            "                self.emit(ModelTrained(self.job, self.model))\n",
            "                self.emit(ModelTrained(self.job, self.model))\n"
            "                self.emit(ModelSaved(self.job, self.model))\n",
        ),
    ),
    "actors/client_actions.py": (
        (IMPORTS, "from protocol.jobs import NoteJob\n"),
        (
            "(events.TellPeer(event.link, submit), asked)",
            f"(events.TellPeer(event.link, evolve(submit, priority={PRIORITY})), asked)",
        ),
        (
            "    return Step(data, _saved_request(data) if is_first and isinstance(data.request, StopJob) else ())\n",
            f'    noted = (events.TellPeer(data.link, NoteJob(data.job, data.key, "{NOTE}")),) if is_first else ()\n'
            "    stop = _saved_request(data) if is_first and isinstance(data.request, StopJob) else ()\n"
            "    return Step(data, (*noted, *stop))\n",
        ),
    ),
}
"""A field of `SubmitJob`; a job's event in the place of another; and a request of its owner."""

ROOMS: Mapping[str, Replacements] = {
    "protocol/signaling.py": (
        (IMPORTS, "from protocol.version import spoken\n"),
        (
            "ToServer = (\n    CreateRoom\n",
            f"@spoken(since={NEXT})\n@frozen\nclass AskRoom:\n"
            '    """Peer to server: say something about the room. Answered by `RoomNotice`."""\n\n'
            "    about: str = field(validator=SingleLine())\n\n\n"
            f"@spoken(since={NEXT})\n@frozen\nclass RoomNotice:\n"
            '    """Server to peer: this is to know about the room. Sent to each peer that joins."""\n\n'
            "    text: str = field(validator=SingleLine())\n\n\n"
            "ToServer = (\n    AskRoom\n    | CreateRoom\n",
        ),
        ("FromServer = (\n    RoomCreated\n", "FromServer = (\n    RoomNotice\n    | RoomCreated\n"),
    ),
    "actors/discovery.py": (
        (IMPORTS, "from protocol.signaling import AskRoom, RoomNotice\n"),
        (
            "events.WorkersChanged(workers), *announce))\n",
            f'events.WorkersChanged(workers), *announce, events.SendToServer(AskRoom("{NOTE}"))))\n',
        ),
        (
            "    row(IN_ROOM,               WorkerLeft, ",
            "    row(IN_ROOM, RoomNotice, SAME, do_nothing),\n    row(IN_ROOM,               WorkerLeft, ",
        ),
    ),
    "rtc/runtime/signaling_runtime.py": (
        (IMPORTS, "from protocol.signaling import RoomNotice\n"),
        (
            "        RoomCreated,\n        WorkerPresent,\n",
            "        RoomCreated,\n        RoomNotice, WorkerPresent,\n",
        ),
    ),
    "rtc/server/signaling.py": (
        (IMPORTS, "from protocol.signaling import AskRoom, RoomNotice\n"),
        (
            "            case Leave():\n",
            "            case AskRoom():\n"
            '                return (SendMessage(websocket.id, RoomNotice(f"asked: {message.about}")),)\n'
            "            case Leave():\n",
        ),
        (
            '        log.info("WebSocket %d joins %s as %s", ',
            '        self._apply((SendMessage(websocket.id, RoomNotice("welcome")),))\n'
            '        log.info("WebSocket %d joins %s as %s", ',
        ),
    ),
}
"""A message of the server to each peer that joins, and one of each peer to the server."""

FAULTS: Mapping[str, Replacements] = {
    "protocol/faults.py": (
        (IMPORTS, "from protocol.version import OLDER_VALUES\n"),
        ('    WORKER_BUSY = "worker_busy"\n', '    WORKER_BUSY = "worker_busy"\n    WORKER_HELD = "worker_held"\n'),
        (
            "@frozen\nclass Fault:",
            f"OLDER_VALUES[FaultCode.WORKER_HELD] = ({NEXT}, FaultCode.WORKER_BUSY)\n\n\n@frozen\nclass Fault:",
        ),
    ),
    "rtc/common/errors.py": (
        (
            "    FaultCode.WORKER_BUSY: ExitCode.NOT_AVAILABLE,\n",
            "    FaultCode.WORKER_BUSY: ExitCode.NOT_AVAILABLE,\n    FaultCode.WORKER_HELD: ExitCode.NOT_AVAILABLE,\n",
        ),
    ),
    "actors/worker.py": (
        ("BUSY_FAULT = Fault(\n    FaultCode.WORKER_BUSY,\n", "BUSY_FAULT = Fault(\n    FaultCode.WORKER_HELD,\n"),
    ),
}
"""A code for the refusal of a second client."""


def write_future(folder: Path, *, oldest: int = VERSIONS.oldest) -> Path:
    """Write a copy of our source that speaks the versions from `oldest` to `NEXT` into a new folder, and return it.

    Raises:
        AssertionError: a text to replace is not in its file exactly once.
    """
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy2(ROOT / name, folder / name)
    today = f"VERSIONS = VersionRange({VERSIONS.oldest}, {VERSIONS.newest})"
    versions = {"protocol/version.py": ((today, f"VERSIONS = VersionRange({oldest}, {NEXT})"),)}
    for changes in (versions, FIELDS, JOBS, ROOMS, FAULTS):
        for name, replacements in changes.items():
            _change(folder / name, replacements)
    return folder


def _change(path: Path, replacements: Replacements) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        if isinstance(old, re.Pattern):
            text = old.sub(new, text, count=1)
            continue
        assert text.count(old) == 1, f"{path.name} has {old!r} {text.count(old)} times, so the future cannot be made"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
