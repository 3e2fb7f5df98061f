"""What a worker prints when it has joined: how to reach it, ready to be copied.

Rule of the room: a string that people copy stands on a line of its own or at its end, whole; no box, no wrapping.
"""

import shlex

from protocol.ids import RoomId
from protocol.status import WorkerFacts
from rtc.config import DEFAULT_SERVERS
from rtc.view.text import clean


def worker_banner(facts: WorkerFacts, room: RoomId, token: str, session_string: str, server: str) -> str:
    """Several lines of plain text, without a final line break.

    Args:
        facts: what the worker says about itself.
        room: the room it has joined.
        token: what opens that room to others.
        session_string: leads one client to this worker; it carries the server's address where that is needed.
        server: WebSocket address; said in the commands unless it is where everybody looks anyway.
    """
    where = "" if server == DEFAULT_SERVERS["production"][0] else f" --server {shlex.quote(server)}"
    door = f"--room-id {shlex.quote(room)} --token {shlex.quote(token)}"
    train = "sleap-rtc client-train"
    return "\n".join(
        (
            f"Worker {clean(facts.name)} is ready.",
            "",
            f"  GPU       {_gpu(facts)}",
            f"  hostname  {clean(facts.hostname)}",
            f"  sleap-nn  {clean(facts.sleap_nn)}",
            f"  server    {clean(server)}",
            f"  room      {clean(room)}",
            f"  token     {clean(token)}",
            "",
            "Session string, for a direct connection to this worker:",
            "",
            f"{session_string}",
            "",
            f"  {train} --session-string {shlex.quote(session_string)} --pkg-path package.zip",
            "",
            "Room id and token, for clients that take any free worker of this room:",
            "",
            f"  {train} {door} --auto-select --pkg-path package.zip{where}",
            "",
            "The same, for more workers to join it:",
            "",
            f"  sleap-rtc worker {door}{where}",
            "",
            "Whoever has these may send jobs here: hand them out like a password. Press Ctrl-C to stop.",
        )
    )


def _gpu(facts: WorkerFacts) -> str:
    if not facts.memory_mb:
        return "none (CPU)" if facts.gpu == "CPU" else clean(facts.gpu)
    return f"{clean(facts.gpu)}, {facts.memory_mb} MB, CUDA {clean(facts.cuda)}"
