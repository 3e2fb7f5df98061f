"""The text that a worker prints when it has joined its room: how to reach it, ready to be copied.

Rule: a string that people copy is unbroken, and stands alone on its line or at the end of it. No boxes, no wrapping.
What most people need comes last, directly above the cursor: the text is longer than many terminals are high.
"""

import shlex
from collections.abc import Sequence

from protocol.ids import RoomId
from protocol.status import WorkerFacts
from rtc.common.text import clean
from rtc.invitations.join_command import join_command, server_option
from rtc.invitations.short_code import ShortCode

TRAIN = "sleap-rtc client-train"
STOP_HINT = "\nPress Ctrl-C to stop."
"""Stands at the end; it is not true of a worker in the background."""


def worker_banner(
    facts: WorkerFacts,
    room: RoomId,
    token: str,
    session_string: str,
    server: str,
    *,
    has_secret: bool,
    code: ShortCode | None = None,
) -> str:
    """Return the banner of one worker: several lines of plain text, without a final line break.

    Args:
        facts: the worker's description of itself.
        room: the room it has joined.
        token: the room's token, which others need to join it.
        session_string: connects a client to this worker; it contains the server's address where that is needed.
        server: the server's WebSocket address. The commands name it, unless it is the default server.
        has_secret: whether clients must prove that they know the room secret. The commands then name a file with it as
            a placeholder: the secret itself on a command line could be seen by other users of that machine.
        code: the short code of the room, if there is one.
    """
    train = f"{TRAIN} --session-string {shlex.quote(session_string)} --pkg-path package.zip{_secret_option(has_secret)}"
    return "\n".join(
        (
            f"Worker {clean(facts.name)} is ready.",
            "",
            f"  GPU       {_gpu(facts)}",
            *_location_lines(facts, room, token, server, has_secret=has_secret),
            "",
            *_room_lines(room, token, server, has_secret=has_secret),
            "Session string, for a direct connection to this worker:",
            "",
            f"{session_string}",
            "",
            f"  {train}",
            "",
            *_last_lines(code, server, has_secret=has_secret),
        )
    )


def fleet_banner(
    workers: Sequence[tuple[WorkerFacts, str]],
    room: RoomId,
    token: str,
    server: str,
    *,
    has_secret: bool,
    code: ShortCode | None = None,
) -> str:
    """Return the banner of several workers of one process, each given as its facts and its session string.

    `room`, `token`, `server`, `has_secret` and `code` are as in `worker_banner`, and the same for all of the workers.
    """
    lines = [f"{len(workers)} workers are ready, one for each GPU.", ""]
    lines += [*_location_lines(workers[0][0], room, token, server, has_secret=has_secret), ""]
    lines += _room_lines(room, token, server, has_secret=has_secret)
    lines += ["Session strings, each for a direct connection to one worker:", ""]
    for facts, session_string in workers:
        lines += [f"  {clean(facts.name)}: {_gpu(facts)}", "", session_string, ""]
    lines += [f"  {TRAIN} --pkg-path package.zip --session-string SESSION_STRING{_secret_option(has_secret)}", ""]
    return "\n".join((*lines, *_last_lines(code, server, has_secret=has_secret)))


def invite_command(room: RoomId, token: str, server: str, *, has_secret: bool) -> str:
    """Return the command that makes a new code for this room, on any computer: also on one that has joined no room, or
    has joined another one, to which a shorter command would invite. The arguments are as in `worker_banner`."""
    named = f"--room-id {shlex.quote(room)} --token {shlex.quote(token)}"
    return f"sleap-rtc room invite {named}{server_option(server)}{_secret_option(has_secret)}"


def _location_lines(facts: WorkerFacts, room: RoomId, token: str, server: str, *, has_secret: bool) -> tuple[str, ...]:
    """Return the lines about the machine and the room."""
    return (
        f"  hostname  {clean(facts.hostname)}",
        f"  sleap-nn  {clean(facts.sleap_nn)}",
        f"  server    {clean(server)}",
        f"  room      {clean(room)}",
        f"  token     {clean(token)}",
        *(("  secret    needed; clients give it with --room-secret-file FILE, or find it",) if has_secret else ()),
    )


def _room_lines(room: RoomId, token: str, server: str, *, has_secret: bool) -> tuple[str, ...]:
    """Return the lines with the commands that take room id and token: for clients, for workers and for a new code."""
    named = f"--room-id {shlex.quote(room)} --token {shlex.quote(token)}"
    rest = f"{server_option(server)}{_secret_option(has_secret)}"
    return (
        "Room id and token, for clients that take any free worker of this room, for more",
        "workers, and for a new short code:",
        "",
        f"  {TRAIN} {named} --auto-select --pkg-path package.zip{rest}",
        f"  sleap-rtc worker {named}{rest}",
        f"  {invite_command(room, token, server, has_secret=has_secret)}",
        "",
    )


def _last_lines(code: ShortCode | None, server: str, *, has_secret: bool) -> tuple[str, ...]:
    """Return the lines about who may have all of this, and about the short code, if there is one."""
    needed = "these and the room secret" if has_secret else "these"
    warning = f"Whoever has {needed} may send jobs here: keep them private."
    if code is None:
        return (f"{warning}{STOP_HINT}",)
    return (
        warning,
        "",
        "On your own computer, the first line only once, within ten minutes:",
        "",
        f"  {join_command(code, server)}",
        "  sleap-rtc train package.zip",
        "",
        f"Short code, for ten minutes and one use: {code}{STOP_HINT}",
    )


def _secret_option(has_secret: bool) -> str:
    """Return the option of a command that names a file with the room secret, as a placeholder."""
    return " --room-secret-file FILE" if has_secret else ""


def _gpu(facts: WorkerFacts) -> str:
    if not facts.memory_mb:
        return "none (CPU)" if facts.gpu == "CPU" else clean(facts.gpu)
    each = " each, both for one job" if facts.gpus == 2 else " each, all for one job" if facts.gpus > 2 else ""
    return f"{clean(facts.gpu)}, {facts.memory_mb} MB{each}, CUDA {clean(facts.cuda)}"
