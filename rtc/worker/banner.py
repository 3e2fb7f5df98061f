"""What a worker prints when it has joined: how to reach it, ready to be copied.

Rule of the room: a string that people copy stands on a line of its own or at its end, whole; no box, no wrapping.
"""

import shlex
from collections.abc import Sequence

from protocol.ids import RoomId
from protocol.status import WorkerFacts
from rtc.common.text import clean
from rtc.config.load import DEFAULT_SERVERS

TRAIN = "sleap-rtc client-train"


def worker_banner(facts: WorkerFacts, room: RoomId, token: str, session_string: str, server: str) -> str:
    """Several lines of plain text, without a final line break.

    Args:
        facts: what the worker says about itself.
        room: the room it has joined.
        token: what opens that room to others.
        session_string: leads one client to this worker; it carries the server's address where that is needed.
        server: WebSocket address; said in the commands unless it is where everybody looks anyway.
    """
    return "\n".join(
        (
            f"Worker {clean(facts.name)} is ready.",
            "",
            f"  GPU       {_gpu(facts)}",
            *_place(facts, room, token, server),
            "",
            "Session string, for a direct connection to this worker:",
            "",
            f"{session_string}",
            "",
            f"  {TRAIN} --session-string {shlex.quote(session_string)} --pkg-path package.zip",
            "",
            *_doors(room, token, server),
        )
    )


def fleet_banner(workers: Sequence[tuple[WorkerFacts, str]], room: RoomId, token: str, server: str) -> str:
    """The same for several workers of one process; each comes with its own session string."""
    lines = [f"{len(workers)} workers are ready, one for each GPU.", ""]
    lines += [*_place(workers[0][0], room, token, server), ""]
    lines += ["Session strings, each for a direct connection to one worker:", ""]
    for facts, session_string in workers:
        lines += [f"  {clean(facts.name)}: {_gpu(facts)}", "", session_string, ""]
    lines += [f"  {TRAIN} --pkg-path package.zip --session-string SESSION_STRING", ""]
    return "\n".join((*lines, *_doors(room, token, server)))


def _place(facts: WorkerFacts, room: RoomId, token: str, server: str) -> tuple[str, ...]:
    return (
        f"  hostname  {clean(facts.hostname)}",
        f"  sleap-nn  {clean(facts.sleap_nn)}",
        f"  server    {clean(server)}",
        f"  room      {clean(room)}",
        f"  token     {clean(token)}",
    )


def _doors(room: RoomId, token: str, server: str) -> tuple[str, ...]:
    """The ways into the room for everybody else."""
    where = "" if server == DEFAULT_SERVERS["production"][0] else f" --server {shlex.quote(server)}"
    signaling = f"--room-id {shlex.quote(room)} --token {shlex.quote(token)}"
    return (
        "Room id and token, for clients that take any free worker of this room:",
        "",
        f"  {TRAIN} {signaling} --auto-select --pkg-path package.zip{where}",
        "",
        "The same, for more workers to join it:",
        "",
        f"  sleap-rtc worker {signaling}{where}",
        "",
        "Whoever has these may send jobs here: hand them out like a password. Press Ctrl-C to stop.",
    )


def _gpu(facts: WorkerFacts) -> str:
    if not facts.memory_mb:
        return "none (CPU)" if facts.gpu == "CPU" else clean(facts.gpu)
    return f"{clean(facts.gpu)}, {facts.memory_mb} MB, CUDA {clean(facts.cuda)}"
