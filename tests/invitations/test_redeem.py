"""Short codes from end to end: both halves over a real server; and servers that lie, in memory."""

import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import wait_all_tasks_blocked

import actors.inviter
from actors import events
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import RoomId
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    GiveInvitation,
    InvitationKind,
    InvitationOpened,
    InvitedRoom,
    ProveInvitation,
    RefuseInvitation,
)
from rtc.common.errors import ExitCode, RtcError
from rtc.common.stories import Stories
from rtc.config.load import Config
from rtc.invitations import code_inviter
from rtc.invitations import redeem as redeem_module
from rtc.invitations.code_exchange import JoinerExchange, answer_joiner, is_proof_of, make_proof
from rtc.invitations.code_inviter import WRONG, CodeInviter
from rtc.invitations.invite import NOBODY_CAME, InviteOptions, _Inviting, invite
from rtc.invitations.redeem import redeem
from rtc.invitations.sealed_room import NOT_FROM_INVITER, open_room, seal_room
from rtc.invitations.short_code import ShortCode, make_code, read_code
from rtc.server import open_server
from rtc.server.database import open_room_database
from rtc.server.limits import ServerLimits
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port

CODE = InvitationKind.CODE
SECRET = "a secret that both know of"
ROOM = InvitedRoom("ws://lab:8080", RoomId("room-1"), "the token", SECRET, "the lab")
IN_MEMORY = Config("test", "ws://lab:8080", "http://lab:8001", connection_timeout=20)


@define
class Inviting:
    """A `room invite`, on a real server."""

    config: Config
    room: RoomId
    token: str
    texts: list[str] = field(factory=list)
    fault: Fault | None = None
    spoke: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)

    def say(self, text: str) -> None:
        self.texts.append(text)
        self.spoke.set()

    async def run(self) -> None:
        options = InviteOptions(self.config, self.room, self.token, SECRET, "lab")
        try:
            await invite(options, self)  # type: ignore[arg-type]
        except RtcError as error:
            self.fault = error.fault
        self.ended.set()

    async def code(self) -> ShortCode:
        await self.spoke.wait()
        return read_code(self.texts[0].splitlines()[0])


async def open_inviting(folder: Path, nursery: trio.Nursery, **limits: int) -> Inviting:
    async with open_room_database(folder) as database:
        room, token = await database.create_room("lab")

    async def serve(task_status: trio.TaskStatus[Config]) -> None:
        many = ServerLimits(**limits)
        async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=folder, limits=many) as server:
            task_status.started(Config("test", server.ws_url, server.http_url))
            await trio.sleep_forever()

    inviting = Inviting(await nursery.start(serve), room, token)
    nursery.start_soon(inviting.run)
    return inviting


def another(code: ShortCode) -> ShortCode:
    """Return a code with the same number and other words."""
    while True:
        found = make_code(code.number)
        if found != code:
            return found


async def fault_of(code: ShortCode, config: Config) -> Fault:
    with pytest.raises(RtcError) as caught:
        await redeem(code, config, name="laptop")
    return caught.value.fault


# -------- over a real server


async def test_who_types_the_code_has_the_room_and_its_secret(tmp_path: Path, nursery: trio.Nursery) -> None:
    with trio.fail_after(HANG_TIME):
        inviting = await open_inviting(tmp_path, nursery)
        code = await inviting.code()
        assert f"  sleap-rtc join {code} --server {inviting.config.signaling_websocket}\n" in inviting.texts[0]
        got = await redeem(code, inviting.config, name="laptop")
        assert got == InvitedRoom(inviting.config.signaling_websocket, inviting.room, inviting.token, SECRET, "lab")
        await inviting.ended.wait()
        assert (inviting.fault, inviting.texts[1:]) == (None, ["'laptop' has the room now."])
        assert (await fault_of(code, inviting.config)).code is FaultCode.ROOM_DENIED


async def test_a_wrong_guess_costs_the_code_and_its_person_hears_of_it(tmp_path: Path, nursery: trio.Nursery) -> None:
    with trio.fail_after(HANG_TIME):
        inviting = await open_inviting(tmp_path, nursery)
        code = await inviting.code()
        wrong = await fault_of(another(code), inviting.config)
        assert (wrong.code, wrong.text) == (FaultCode.AUTH_INVALID, redeem_module.WRONG_CODE)
        assert RtcError.of(wrong).exit_code is ExitCode.AUTHENTICATION
        await inviting.ended.wait()
        assert inviting.fault is not None
        assert inviting.fault.text.startswith(
            "Somebody typed a wrong code, at a computer called 'laptop', so the code is void."
        )
        late = await fault_of(code, inviting.config)
        assert RtcError.of(late).exit_code is ExitCode.AUTHENTICATION
        never = await fault_of(ShortCode(999, code.words), inviting.config)
        assert late == never


async def test_nobody_comes_in_time(tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.inviter, "CODE_TIME", 0)
    with trio.fail_after(HANG_TIME):
        inviting = await open_inviting(tmp_path, nursery)
        await inviting.ended.wait()
        assert inviting.fault == Fault(FaultCode.NO_WORKER, NOBODY_CAME)
        assert RtcError.of(inviting.fault).exit_code is ExitCode.NOT_AVAILABLE


def test_the_person_hears_of_a_lost_line_once_and_why_the_code_is_void_then() -> None:
    class Inviter:
        is_open = True

        def invite(self) -> None: ...

    texts: list[str] = []
    lines = SimpleNamespace(say=texts.append)
    options = InviteOptions(IN_MEMORY, RoomId("room-1"), "token")
    inviting = _Inviting(options, lines, None, Inviter())  # type: ignore[arg-type]
    lost, joined = events.ServerDisconnected("Lost."), events.JoinedRoom(RoomId("room-1"), "", "client-1")  # type: ignore[arg-type]
    inviting.start(joined)
    inviting.code_opened(make_code(7), 600)
    texts.clear()
    for event in (lost, lost, joined, lost):
        inviting.start(event) if event is joined else inviting.note_loss(event)
    told = "Lost. The code works again when it is back; after a minute the code is void."
    assert texts == [told, "The line to the server is back.", told]
    inviting.code_ended(events.InvitationEnded(CODE, Fault(FaultCode.LINK_LOST, "The server has not kept it.")))
    inviting.note_loss(lost)
    assert len(texts) == 3
    assert inviting.fault is not None
    assert inviting.fault.text == (
        "The short code is void: The server has not kept it. Run the command again for a new one."
    )


@pytest.mark.slow
def test_both_programs_need_nothing_of_webrtc() -> None:
    words = "import sys, rtc.invitations.redeem, rtc.invitations.invite; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert not {"aiortc", "aioice", "trio_asyncio", "rtc.transport.webrtc"} & set(done.stdout.split())


async def test_a_server_that_allows_no_codes_says_so(tmp_path: Path, nursery: trio.Nursery) -> None:
    with trio.fail_after(HANG_TIME):
        inviting = await open_inviting(tmp_path, nursery, max_invitations=0)
        await inviting.ended.wait()
        assert inviting.fault is not None
        assert "lets nobody invite" in inviting.fault.text


async def test_a_wrong_token_or_no_server_is_the_usual_fault() -> None:
    with open_port() as port, trio.fail_after(HANG_TIME):
        config = Config("test", f"ws://127.0.0.1:{port}", "http://127.0.0.1:1", connection_timeout=0.3)
        fault = await fault_of(make_code(1), config)
        assert RtcError.of(fault).exit_code is ExitCode.NETWORK


# -------- the joiner, and a server that lies


Server = Callable[[Any, Callable[[Any], Awaitable[None]]], Awaitable[None]]
"""Gets each message of the joiner, and says something by the function."""


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in the event loop, so that nothing goes on while all tasks wait, and a clock may jump."""

    async def run_here(function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_here)


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch, no_threads: None) -> Callable[[Server], None]:
    """Let the joiner's connection lead to a server that the test plays."""

    def use(server: Server) -> None:
        async def run(_url: str, *, on_event: Any, outgoing: Any, timeout: float) -> None:
            await on_event(events.ServerConnected())
            while True:
                try:
                    message = await outgoing.take()
                except trio.EndOfChannel:
                    return
                await server(message, on_event)

        monkeypatch.setattr(redeem_module, "run_signaling", run)

    return use


async def test_a_server_that_plays_the_inviter_has_one_guess(lying: Any, autojump_clock: Any) -> None:
    code, guess = make_code(7), make_code(7)
    judged = []

    async def play(message: Any, say: Any) -> None:
        match message:
            case AskInvitation():
                share, keys = answer_joiner(guess, message.name, message.share)
                judged.append(keys)
                await say(AnswerInvitation(7, share))
            case ProveInvitation():
                judged.append(is_proof_of(judged[0], message.proof))
                await say(GiveInvitation(7, seal_room(ROOM, judged[0].room, judged[0].transcript)))

    lying(play)
    fault = await fault_of(code, IN_MEMORY)
    assert fault.code is FaultCode.AUTH_INVALID
    assert "not to be trusted" in fault.text
    assert judged[1:] == [False]


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: AnswerInvitation(7, asked.share),
        lambda asked: AnswerInvitation(7, b"A" + asked.share[1:]),
        lambda _: AnswerInvitation(7, b"A" + b"\x01" + bytes(31)),
        lambda _: AnswerInvitation(7, b"x"),
        lambda _: AnswerInvitation(7, JoinerExchange(make_code(7), "x").share),
    ],
)
async def test_a_half_that_is_none_gets_no_proof(lying: Any, autojump_clock: Any, answer: Any) -> None:
    heard = []

    async def play(message: Any, say: Any) -> None:
        heard.append(type(message))
        if isinstance(message, AskInvitation):
            await say(answer(message))

    lying(play)
    assert await fault_of(make_code(7), IN_MEMORY) == NOT_FROM_INVITER
    assert heard in ([AskInvitation], [AskInvitation, RefuseInvitation])


async def test_a_server_that_is_too_old_for_codes_is_named_without_words_of_programmers(
    lying: Any, autojump_clock: Any
) -> None:
    async def old(_message: Any, say: Any) -> None:
        text = "The server does not understand: a message came that is not known here (ASK_INVITATION)."
        await say(Fault(FaultCode.BAD_MESSAGE, text))

    lying(old)
    fault = await fault_of(make_code(7), IN_MEMORY)
    assert fault == Fault(FaultCode.VERSION, redeem_module.NO_CODES)


@pytest.mark.parametrize("change", [lambda sealed: sealed[:-1] + b"x", lambda _: b"x" * 60, lambda sealed: sealed[12:]])
async def test_a_room_that_was_changed_on_its_way_is_not_taken(lying: Any, autojump_clock: Any, change: Any) -> None:
    code = make_code(7)
    keys = []

    async def play(message: Any, say: Any) -> None:
        if isinstance(message, AskInvitation):
            share, ours = answer_joiner(code, message.name, message.share)
            keys.append(ours)
            await say(AnswerInvitation(7, share))
        else:
            await say(GiveInvitation(7, change(seal_room(ROOM, keys[0].room, keys[0].transcript))))

    lying(play)
    assert (await fault_of(code, IN_MEMORY)).code is FaultCode.AUTH_INVALID


async def test_what_was_recorded_of_one_exchange_is_worth_nothing_in_the_next(lying: Any, autojump_clock: Any) -> None:
    code, said = make_code(7), []

    async def honest(message: Any, say: Any) -> None:
        if isinstance(message, AskInvitation):
            share, keys = answer_joiner(code, message.name, message.share)
            said.append((AnswerInvitation(7, share), GiveInvitation(7, seal_room(ROOM, keys.room, keys.transcript))))
        await say(said[0][isinstance(message, ProveInvitation)])

    lying(honest)
    assert await redeem(code, IN_MEMORY) == evolve(ROOM, server=IN_MEMORY.signaling_websocket)

    async def replays(message: Any, say: Any) -> None:
        await say(said[0][isinstance(message, ProveInvitation)])

    lying(replays)
    assert (await fault_of(code, IN_MEMORY)).code is FaultCode.AUTH_INVALID


async def test_a_server_that_says_nothing_is_waited_for_no_longer_than_the_time_out(
    lying: Any, autojump_clock: Any
) -> None:
    async def silent(_message: Any, _say: Any) -> None:
        await trio.lowlevel.checkpoint()

    lying(silent)
    start = trio.current_time()
    assert (await fault_of(make_code(7), IN_MEMORY)).code is FaultCode.STALLED
    assert trio.current_time() - start <= IN_MEMORY.connection_timeout


# -------- the inviter, and a server that lies


@define
class Lonely:
    """A `CodeInviter` with a router, and nobody but the test around it."""

    router: Router
    inviter: CodeInviter = field(init=False)
    sent: list[Any] = field(factory=list)
    codes: list[ShortCode] = field(factory=list)
    ends: list[Any] = field(factory=list)

    def code_opened(self, code: ShortCode, _seconds: int) -> None:
        self.codes.append(code)

    def code_used(self, event: events.InvitationUsed) -> None:
        self.ends.append(event)

    def code_ended(self, event: events.InvitationEnded) -> None:
        self.ends.append(event)

    async def hears(self, *messages: Any) -> list[Any]:
        """Return what is sent to the server after these events."""
        before = len(self.sent)
        for message in messages:
            self.router.outbox.put(message)
        await wait_all_tasks_blocked()
        return self.sent[before:]


@pytest.fixture
async def lonely(nursery: trio.Nursery, no_threads: None) -> Lonely:
    router = Router({})
    found = Lonely(router)

    async def room() -> InvitedRoom:
        await trio.lowlevel.checkpoint()
        return ROOM

    found.inviter = CodeInviter(router, room, found)
    router.routes = found.inviter.routes() | {events.SendToServer: (lambda effect: found.sent.append(effect.message),)}
    await nursery.start(router.run)
    await nursery.start(found.inviter.run)
    return found


async def opened(lonely: Lonely, number: int = 7) -> ShortCode:
    lonely.inviter.invite()
    await lonely.hears(InvitationOpened(CODE, number, 600))
    return lonely.codes[-1]


async def test_the_room_is_encrypted_for_who_has_proved_to_know_the_words(lonely: Lonely) -> None:
    code = await opened(lonely)
    joiner = JoinerExchange(code, "laptop")
    (answer,) = await lonely.hears(AskInvitation(7, "laptop", joiner.share))
    keys = joiner.finish(answer.share)
    (give,) = await lonely.hears(ProveInvitation(7, make_proof(keys)))
    assert open_room(give.sealed, keys.room, keys.transcript) == ROOM
    assert lonely.ends == [events.InvitationUsed(CODE, "laptop")]


async def test_a_server_that_asks_again_and_again_has_one_guess_at_each_code(
    lonely: Lonely, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[ShortCode] = []

    def count(code: ShortCode, *more: Any) -> Any:
        evaluated.append(code)
        return answer_joiner(code, *more)

    monkeypatch.setattr(code_inviter, "answer_joiner", count)
    for _ in range(3):
        code = await opened(lonely)
        joiner = JoinerExchange(another(code), "laptop")
        asked, again = AskInvitation(7, "laptop", joiner.share), InvitationOpened(CODE, 7, 600)
        sent = await lonely.hears(asked, asked, again, asked)
        proof = make_proof(joiner.finish(sent[0].share))
        sent += await lonely.hears(ProveInvitation(7, proof), ProveInvitation(7, proof), again, asked, asked)
        assert [one for one in sent if isinstance(one, GiveInvitation)] == []
        assert RefuseInvitation(7, WRONG) in sent
        assert lonely.ends[-1] == events.InvitationUsed(CODE, "laptop", WRONG)
    assert evaluated == lonely.codes
    assert len(set(evaluated)) == 3


@pytest.mark.parametrize("share", [b"x", b"B" + b"\x01" + bytes(31), b"A" * 33])
async def test_a_half_that_is_none_costs_the_code_as_a_wrong_guess_does(lonely: Lonely, share: bytes) -> None:
    await opened(lonely)
    assert await lonely.hears(AskInvitation(7, "laptop", share)) == [RefuseInvitation(7, WRONG)]
    assert lonely.ends == [events.InvitationUsed(CODE, "laptop", WRONG)]


async def test_after_a_loss_of_the_line_the_code_is_the_same_unless_the_server_gives_another_number(
    lonely: Lonely,
) -> None:
    await opened(lonely)
    lost, joined = events.ServerDisconnected("Lost."), events.JoinedRoom(RoomId("room-1"), "", "worker-1")  # type: ignore[arg-type]
    await lonely.hears(lost, joined, InvitationOpened(CODE, 7, 300))
    assert len(lonely.codes) == 1
    await lonely.hears(lost, joined, InvitationOpened(CODE, 8, 300))
    assert [code.number for code in lonely.codes] == [7, 8]
    assert lonely.codes[0].words != lonely.codes[1].words
    await lonely.hears(lost, joined, InvitationOpened(CODE, 10**9, 300))
    assert len(lonely.codes) == 2


async def test_neither_log_nor_trace_has_the_words_or_the_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    caplog.set_level(logging.DEBUG)
    stories = Stories(tmp_path / "trace")
    with stories.in_use(), trio.fail_after(HANG_TIME):
        inviting = await open_inviting(tmp_path, nursery)
        code = await inviting.code()
        await redeem(code, inviting.config, name="laptop")
        await inviting.ended.wait()
        stories.log()
        nursery.cancel_scope.cancel()
    told = (tmp_path / "trace").read_text() + caplog.text
    assert "MakeShare" in told
    assert "RoomGiven" in told
    assert not any(word in told for word in (*code.words, inviting.token, SECRET))
