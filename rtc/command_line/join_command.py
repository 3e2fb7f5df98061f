"""What the commands about remembered rooms do: join and print, choose the default, forget."""

import re
import sys
from functools import cache, partial

from protocol.faults import FaultCode
from protocol.preference import takes_jobs
from rtc.client.join_room import JoinOptions, JoinOutcome, join_room
from rtc.client.rooms_table import default_of
from rtc.client.target import NONE_REMEMBERED, find_room
from rtc.command_line.read_config import read_config, remembered_rooms
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.sources import SourceKind
from rtc.invitations.redeem import redeem
from rtc.invitations.short_code import complete
from rtc.runtime.root import print_error, run_root, run_until_signal

PROMPT = "Short code or session string: "
NOTHING_GIVEN = (
    "Say what to join: sleap-rtc join CODE, with the short code that a worker shows, such as 7-tulip-otter-radio; or "
    "its session string; or --room-id R --token T."
)


_PASTED = re.compile(
    r"\s*(?:\$ *)?(?:sleap-rtc|python3? -m rtc) +join +"
    r"(?P<what>\S+(?: +(?!--)\S+)*)(?: +--server[ =](?P<server>\S+))?\s*"
)
"""The line that a worker prints for people who want to join its room, as a whole."""


def _say(text: str) -> None:
    LineWriter(sys.stdout).say(text)


# -------- joining


def ask_what() -> tuple[str, str | None]:
    """Return what the person types as the room to join, and the server if it was named too. Tab completes the words of
    a short code.

    The whole line that a worker prints may be pasted: `sleap-rtc join 7-tulip-otter-radio --server ws://lab:8080`.

    Raises:
        RtcError: USAGE: there is no terminal to ask on, or nothing was typed.
        KeyboardInterrupt: the person has pressed Ctrl-C.
    """
    if not _is_terminal():
        raise RtcError(FaultCode.USAGE, NOTHING_GIVEN)
    _complete_words()
    try:
        what = input(PROMPT)
    except EOFError:
        what = ""
    if not what.strip():
        raise RtcError(FaultCode.USAGE, NOTHING_GIVEN)
    pasted = _PASTED.fullmatch(what)
    return (what, None) if pasted is None else (pasted["what"], pasted["server"])


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _complete_words() -> None:
    """Let Tab complete the words of a short code in `input`; where Python has no readline (Windows) it does not."""
    try:
        import readline
    except ImportError:
        return

    def completer(text: str, state: int) -> str | None:
        found = complete(text)
        return found[state] if state < len(found) else None

    readline.set_completer_delims("")
    readline.set_completer(completer)
    editline = "libedit" in (readline.__doc__ or "")  # macOS has this one in place of GNU readline
    readline.parse_and_bind("bind ^I rl_complete" if editline else "tab: complete")
    readline.set_auto_history(False)  # a session string is not kept


def join_and_print(
    what: str | None,
    room_id: str | None,
    token: str | None,
    *,
    server: str | None,
    name: str | None,
    find_secret: RoomSecrets,
) -> int:
    """Join a room, remember it, and print what was remembered and what to type next; return the exit code.

    Args:
        what: a short code or a session string; None if `room_id` and `token` are given.
        find_secret: has the room secret that was given with an option, and knows the other places.
    """
    given = find_secret(None)
    options = JoinOptions(
        rooms=remembered_rooms(),
        config_for=cache(read_config),
        redeem=redeem,
        what=what,
        room=room_id,
        token=token,
        server=server,
        secret=None if given is None else given.text,
        name=name,
    )
    return run_root(
        "client", partial(run_until_signal, partial(_join_and_print, options, find_secret)), secrets=(what, token)
    )


def join_nearby_and_print(worker: str | None, *, server: str | None, name: str | None, find_secret: RoomSecrets) -> int:
    """Find a worker in the local network, and join and print its room as `join_and_print` does; return the exit code.

    Args:
        worker: the worker's name; None to choose.
        server: the address by which to reach its server; None for the announced one.
    """
    from rtc.client.join_nearby import NearbyOptions, find_nearby

    config_for = cache(read_config)
    options = JoinOptions(
        rooms=remembered_rooms(),
        config_for=config_for,
        redeem=redeem,
        find_nearby=partial(find_nearby, NearbyOptions(config_for, worker, server)),
        name=name,
    )
    return run_root("client", partial(run_until_signal, partial(_join_and_print, options, find_secret)))


async def _join_and_print(options: JoinOptions, find_secret: RoomSecrets) -> int:
    outcome = await join_room(options)
    _say(about_join(outcome))
    if warning := _other_secret(outcome, find_secret):
        print_error(warning)
    return ExitCode.DONE


def about_join(outcome: JoinOutcome) -> str:
    """Return what is printed about a room that was joined: what is remembered, who is there, what to type next."""
    room = outcome.room
    earlier = [one for one in outcome.replaced if one.room == room.room]
    lines = [f"{'Renewed' if earlier else 'Joined'}: the room is remembered as {room.name}."]
    for other in outcome.replaced:
        if other.room != room.room:
            lines.append(f"{other.name} was another room before, {other.room} on {clean(other.server)}.")
    lines += [f"It was remembered as {one.name} before." for one in earlier if one.name != room.name]
    lines += [f"Its server was {clean(one.server)} before." for one in earlier if one.server != room.server]
    lines += [
        f"  server   {clean(room.server)}",
        f"  workers  {_about_workers(outcome)}",
        *(("  secret   remembered with it",) if room.secret else ()),
        "",
        *_next_steps(outcome),
    ]
    return "\n".join(lines)


def _about_workers(outcome: JoinOutcome) -> str:
    workers = outcome.workers
    if not workers:
        return "none now"
    available = sum(takes_jobs(worker.facts) for worker in workers)
    return f"{len(workers)}, of which {available} {'takes' if available == 1 else 'take'} a job now"


def _next_steps(outcome: JoinOutcome) -> list[str]:
    """Return what to type next."""
    name, default = outcome.room.name, default_of(outcome.content)
    lines = []
    if not outcome.workers:
        lines.append(f"Start a worker there: sleap-rtc worker --room {name}")
    if default == outcome.room:
        return [*lines, "Train now:  sleap-rtc train FILE"]
    lines.append(f"Train now:  sleap-rtc train FILE --room {name}")
    return [*lines, f"To leave out --room:  sleap-rtc rooms default {name}"]


def _other_secret(outcome: JoinOutcome, find_secret: RoomSecrets) -> str | None:
    """Return a sentence if another secret of this room is used before the one that is remembered; otherwise None."""
    if outcome.room.secret is None:
        return None
    for source in find_secret.places.remembered(outcome.room.room):
        try:
            text = source.read()
        except RtcError as error:
            return error.fault.text
        if source.kind is SourceKind.REMEMBERED or (text or "").strip() == outcome.room.secret:
            return None
        if text and text.strip():
            return (
                f"{source.place} has another secret of this room, which is used before the one of {outcome.room.name}."
            )
    return None


# -------- choosing and forgetting


def choose_default(name: str | None) -> int:
    """Choose the room that is meant when none is named, by its name or id, or none; return the exit code.

    Raises:
        RtcError: USAGE: no such room is remembered, or the file cannot be used.
    """
    rooms = remembered_rooms()
    if name is None:
        rooms.set_default(None)
        _say("No room is the default now. With one room alone, that one is meant.")
        return ExitCode.DONE
    room = find_room(rooms, name, how_to_join=NONE_REMEMBERED)
    rooms.set_default(room.name)
    _say(f"{room.name} is the default room now.")
    return ExitCode.DONE


def print_default() -> int:
    """Print which room is meant when none is named, and return the exit code.

    Raises:
        RtcError: USAGE: the file cannot be used.
    """
    default = default_of(remembered_rooms().read())
    _say("No room is the default." if default is None else default.name)
    return ExitCode.DONE


def forget(name: str) -> int:
    """Forget the room with this name or id, and return the exit code.

    Raises:
        RtcError: USAGE: no such room is remembered, or the file cannot be used.
    """
    rooms = remembered_rooms()
    room = find_room(rooms, name, how_to_join=NONE_REMEMBERED)
    rooms.forget(room.name)
    _say(f"Left: {room.name} is remembered here no more. The room, its workers and your jobs go on.")
    if room.secret is not None:
        _say("Its room secret is forgotten, too. To fetch a result from there, join the room again.")
    return ExitCode.DONE
