"""The presenter and the program around it: what is shown of each turn, what keys and signals do, and how it ends."""

import json
import signal
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from pytest_trio import trio_fixture
from trio.testing import MockClock

from actors import events
from actors.actor import Actor
from actors.client import CLIENT
from actors.client_actions import FIRST_PAUSE
from actors.client_data import ClientData, ClientPhase
from actors.events import BestWorker, Interrupt, JobCredential, LinkLost, NamedWorker, PeerMessage
from actors.router import Router
from cli import run
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobState,
    LogLines,
    Outcome,
    PredictionStarted,
    Progress,
    StopJob,
    SubmitJob,
)
from protocol.signaling import QueuePosition, WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.client import program, tickets
from rtc.client.file_transfers import FileTransfers
from rtc.client.options import ClientOptions
from rtc.client.presenter import (
    CANCEL_ASKED,
    CANCEL_HINT,
    NOTHING_LEFT,
    NOTHING_TO_STOP,
    STOP_ASKED,
    Presenter,
    left_text,
    none_to_choose,
)
from rtc.client.result_folder import ResultFolder
from rtc.client.ticket_folder import TicketFolder
from rtc.client.tickets import JobTicket
from rtc.command_line.client_program import ClientProgram
from rtc.common.errors import ExitCode, RtcError
from rtc.config.load import load_config
from rtc.packages.plan import Plan, inspect_package
from rtc.runtime.peer_runtime import PeerRuntime
from rtc.terminal import Losses, Mode
from rtc.terminal.base_view import BaseView
from rtc.testing.homes import STATE
from rtc.testing.lab import Lab, LabWorker, RecordingView
from rtc.testing.limits import HANG_TIME

MakePackage = Callable[..., Path]
P = ClientPhase
JOB = JobId("job-1")


def options_for(lab: Lab, worker: LabWorker, package: Path, **more: object) -> ClientOptions:
    there, folder = worker.ready, lab.folder
    where = {"output": folder / "out", "tickets_folder": folder / "tickets", "choice": NamedWorker(worker.peer)}
    return ClientOptions(lab.config, package, there.room, there.token, **(where | more))


# -------- leaving in a hurry


@define
class ImpatientClient:
    """A client whose person does not wait: the test can ask it to drain, or cancel it, at any moment."""

    program: ClientProgram
    drain: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    over: trio.Event = field(factory=trio.Event)
    code: ExitCode | None = None

    async def run(self, lab: Lab) -> None:
        with self.scope:
            try:
                await self.program.run(lab.asyncio_loop, self.drain)
                self.code = ExitCode.DONE
            except RtcError as error:
                self.code = error.exit_code
        if self.code is None:
            self.code = self.program.cancelled_exit_code()
        self.over.set()

    def signal(self, number: int) -> None:
        """Do what the root of a process does with a signal."""
        if not self.drain.is_set() and self.program.handle_signal(number):
            return
        if self.drain.is_set():
            self.scope.cancel()
        self.drain.set()

    async def presenter(self, ready: Callable[[Presenter], bool]) -> Presenter:
        """Wait until `ready` is true of the client's presenter; return the presenter."""
        with trio.fail_after(HANG_TIME):
            while self.program.presenter is None or not ready(self.program.presenter):  # noqa: ASYNC110 (fields have no events)
                await trio.sleep(0.01)
        return self.program.presenter

    async def ended(self) -> ExitCode | None:
        with trio.fail_after(HANG_TIME):
            await self.over.wait()
        return self.code


def two_models(package: MakePackage, first: int, second: int) -> Path:
    """Make a package with two models that train for `first` and `second` epochs."""
    one, two = (package(f"{epochs}.zip", models=("a", "b"), epochs=epochs, seconds=0.05) for epochs in (first, second))
    target = one.with_name("toy.zip")
    with zipfile.ZipFile(one) as firsts, zipfile.ZipFile(two) as seconds, zipfile.ZipFile(target, "w") as archive:
        for name in firsts.namelist():
            archive.writestr(name, (seconds if name == "b.yaml" else firsts).read(name))
    return target


def begin(lab: Lab, options: ClientOptions, mode: Mode = Mode.NORMAL) -> ImpatientClient:
    impatient = ImpatientClient(ClientProgram(options, mode))
    lab.nursery.start_soon(impatient.run, lab)
    return impatient


def is_running(presenter: Presenter) -> bool:
    return presenter.phase is P.RUNNING and presenter.job is not None


@pytest.mark.slow
async def test_a_second_signal_while_the_link_is_closed_changes_nothing(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    impatient = begin(lab, options_for(lab, worker, package(epochs=10_000, seconds=0.1)))
    presenter = await impatient.presenter(is_running)
    assert presenter.runtime is not None
    impatient.drain.set()
    await presenter.runtime.finished.wait()
    impatient.scope.cancel()
    assert await impatient.ended() is ExitCode.DETACHED
    assert f"sleap-rtc attach {presenter.job}" in capsys.readouterr().out


@pytest.mark.slow
async def test_two_signals_in_one_moment_detach_with_the_same_text(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    impatient = begin(lab, options_for(lab, worker, package(epochs=10_000, seconds=0.1)), Mode.JSON)
    presenter = await impatient.presenter(is_running)
    impatient.drain.set()
    impatient.scope.cancel()
    assert await impatient.ended() is ExitCode.DETACHED
    printed = capsys.readouterr()
    assert f"sleap-rtc attach {presenter.job}" in printed.out
    assert '"outcome": "detached"' in printed.out.splitlines()[-1]
    assert "stays on the worker" in printed.err


def while_inspecting(patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let `act` happen while the program inspects the package."""

    def inspect(*arguments: Any, **options: Any) -> Plan:
        trio.from_thread.run_sync(act)
        return inspect_package(*arguments, **options)

    patch.setattr(program, "inspect_package", inspect)


def cancel_as_the_package_is_inspected(patch: pytest.MonkeyPatch, impatient: ImpatientClient) -> None:
    while_inspecting(patch, impatient.scope.cancel)


def cancel_as_the_transfers_start(patch: pytest.MonkeyPatch, impatient: ImpatientClient) -> None:
    run_transfers = FileTransfers.run

    async def start(transfers: FileTransfers, *, task_status: trio.TaskStatus[None]) -> None:
        impatient.scope.cancel()
        await run_transfers(transfers, task_status=task_status)

    patch.setattr(FileTransfers, "run", start)


def cancel_on_the_way(patch: pytest.MonkeyPatch, impatient: ImpatientClient) -> None:
    watch = Presenter.watch

    def cancel(presenter: Presenter, turn: Any) -> None:
        watch(presenter, turn)
        if turn.next is P.CONNECTING:
            impatient.scope.cancel()

    patch.setattr(Presenter, "watch", cancel)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cancel", [cancel_as_the_package_is_inspected, cancel_as_the_transfers_start, cancel_on_the_way]
)
async def test_a_client_that_is_cancelled_before_the_job_began_says_so(
    lab: Lab,
    package: MakePackage,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cancel: Callable[[pytest.MonkeyPatch, ImpatientClient], None],
) -> None:
    worker = await lab.start_worker()
    impatient = ImpatientClient(ClientProgram(options_for(lab, worker, package()), Mode.JSON))
    cancel(monkeypatch, impatient)
    lab.nursery.start_soon(impatient.run, lab)
    assert await impatient.ended() is ExitCode.INTERRUPTED
    printed = capsys.readouterr()
    ends = [event for event in map(json.loads, printed.out.splitlines()) if event["event"] == "ended"]
    assert [event["outcome"] for event in ends] == ["interrupted"]
    assert "before the job began" in printed.err


@pytest.mark.slow
@pytest.mark.parametrize("policy", [None, Interrupt.STOP])
async def test_a_signal_before_the_client_has_its_wish_is_not_lost(
    lab: Lab,
    package: MakePackage,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    policy: Interrupt | None,
) -> None:
    worker = await lab.start_worker()
    options = options_for(lab, worker, package(), on_interrupt=policy)
    impatient = ImpatientClient(ClientProgram(options, Mode.JSON))
    while_inspecting(monkeypatch, lambda: impatient.signal(signal.SIGINT))
    lab.nursery.start_soon(impatient.run, lab)
    assert await impatient.ended() is ExitCode.INTERRUPTED
    assert "nothing was left on the worker" in capsys.readouterr().out


@pytest.mark.slow
async def test_the_second_signal_while_the_result_is_unpacked_ends_the_program(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unpack_for_ever(_folder: ResultFolder, _archive: Path) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(ResultFolder, "unpack", unpack_for_ever)
    worker = await lab.start_worker()
    impatient = begin(lab, options_for(lab, worker, package()))
    await impatient.presenter(lambda presenter: presenter.phase is P.UNPACKING)
    impatient.signal(signal.SIGINT)
    with trio.fail_after(HANG_TIME):
        await impatient.drain.wait()
    assert not impatient.over.is_set(), "only a moment is missing"
    impatient.signal(signal.SIGINT)
    assert await impatient.ended() is ExitCode.DETACHED
    assert "stays on the worker" in capsys.readouterr().err
    assert len(list(lab.folder.glob("*.results.zip"))) == 1, "nor is the result lost"


@pytest.mark.slow
async def test_a_result_that_is_here_is_shown_although_the_client_is_cancelled(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    impatient = begin(lab, options_for(lab, worker, package()))
    presenter = await impatient.presenter(is_running)
    assert presenter.runtime is not None
    await presenter.runtime.finished.wait()
    impatient.scope.cancel()
    assert await impatient.ended() is ExitCode.DONE
    assert "Results are in" in capsys.readouterr().out
    assert tickets.jobs_with_tickets(lab.folder / "tickets") == []


# -------- what is shown of each turn

WORKER, OTHER = PeerId("worker-1"), PeerId("worker-2")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
KEY = "key"
BUSY = Fault(FaultCode.WORKER_BUSY, "The worker is busy.")
BROKEN = Fault(FaultCode.LINK_LOST, "The connection was lost.")
UNKNOWN = Fault(FaultCode.NO_SUCH_JOB, "The worker has no such job.")
JOINED = events.JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))
ACCEPTED = PeerMessage(ONE, JobAccepted(JOB, KEY))
DONE = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)


def present(*peers: PeerId) -> events.WorkersChanged:
    facts = WorkerFacts(Status.AVAILABLE, "b", "lab", "GPU", 8000, "0.3", "12.4", "0.1")
    return events.WorkersChanged(tuple(WorkerPresent(peer, facts) for peer in peers))


def opened(link: LinkId, peer: PeerId = WORKER, *, proven: bool = False) -> events.Authenticated:
    return events.Authenticated(link, peer, proven, version=3)


def happened(link: LinkId, seq: int, news: Any = None) -> PeerMessage:
    return PeerMessage(link, JobEvent(news or LogLines(JOB, (f"line {seq}",)), 1.0, seq))


@define
class HesitantView(RecordingView):
    """A view whose person answers only when the test says so."""

    answer: trio.Event = field(factory=trio.Event)
    questions: list[bool] = field(factory=list)
    """For each question after a Ctrl-C, whether an early stop was offered."""
    keys_read: int = 0
    stop: Callable[[], None] | None = None

    async def read_keys(self, stop: Callable[[], None]) -> None:
        self.keys_read += 1
        self.stop = stop
        await trio.sleep_forever()

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        self.questions.append(stoppable)
        await self.answer.wait()
        return await super().ask_interrupt(stoppable=stoppable)

    async def choose(self, workers: Any, changed: Any = None) -> PeerId | None:
        self.offered.append(tuple(workers()))
        await self.answer.wait()
        self.answer = trio.Event()
        return self.picks.pop(0)


@define
class Scene:
    """A Client with its presenter, its tickets and a person. The test says what else happens around them."""

    presenter: Presenter
    runtime: PeerRuntime
    client: Actor[ClientData]
    view: HesitantView
    wanted: events.JobWanted
    drain: trio.Event = field(factory=trio.Event)
    told: list[Any] = field(factory=list)
    """What the worker was told."""

    @property
    def texts(self) -> list[str]:
        """The texts shown since the last call."""
        texts = list(self.view.texts)
        self.view.texts.clear()
        return texts

    async def hear(self, *happens: Any) -> list[str]:
        """Let these events happen, and return the texts that are shown of them."""
        for event in happens:
            self.runtime.post(event)
        await trio.testing.wait_all_tasks_blocked()
        return self.texts

    async def begin(self, *happens: Any) -> list[str]:
        self.runtime.post(self.wanted)
        self.presenter.runtime = self.runtime
        return await self.hear(JOINED, present(WORKER), *happens)

    async def running(self) -> None:
        await self.begin(opened(ONE), ACCEPTED, events.PackageSent(ONE))
        assert self.presenter.phase is P.RUNNING


MakeScene = Callable[..., Awaitable[Scene]]


@trio_fixture
async def scene(nursery: trio.Nursery, autojump_clock: MockClock, tmp_path: Path) -> MakeScene:
    """Makes scenes; keyword arguments are fields of `ClientOptions`."""

    async def make(**more: Any) -> Scene:
        config = SimpleNamespace(signaling_websocket="ws://127.0.0.1:9", connection_timeout=30.0)
        where = {"choice": NamedWorker(WORKER), "tickets_folder": tmp_path / "tickets"}
        options = ClientOptions(config, Path("toy.zip"), RoomId("room-1"), "token", **(where | more))  # type: ignore[arg-type]
        view = HesitantView()
        presenter = Presenter(view, options)
        router = Router({})
        links = SimpleNamespace(path=lambda _link: "direct")
        runtime = PeerRuntime(router, SimpleNamespace(), links, nursery, nursery)  # type: ignore[arg-type]
        client = Actor(CLIENT, ClientData(), router.outbox, watch=presenter.watch)
        submit = None if options.credential else SubmitJob(options.kind, "toy.zip", 10)
        made = Scene(presenter, runtime, client, view, program._job_wanted(options, submit, None))
        transfers = SimpleNamespace(send=lambda _: None, fetch=lambda _: None)
        routes = program._routes(client.inbox.put, transfers, presenter, TicketFolder(options, view, router.outbox.put))  # type: ignore[arg-type]
        to_others = (events.JoinRoom, events.OpenLink, events.CloseLink, events.SendToServer)
        router.routes = {kind: (lambda _: None,) for kind in to_others} | routes
        runtime.add_routes(
            {
                events.TellPeer: (lambda effect: made.told.append(effect.message),),
                events.Finished: (runtime.finish,),
                events.LetNextSignalCancel: (lambda _: made.drain.set(),),
            }
        )
        await nursery.start(router.run)
        await nursery.start(client.run)
        return made

    return make


async def test_the_steps_of_a_job_are_shown_in_order_and_once(scene: MakeScene) -> None:
    made = await scene()
    assert await made.begin() == ["In room room-1 as client-1", "Asking worker-1 for a link"]
    assert await made.hear(opened(ONE, proven=True)) == [
        "Linked to worker-1 (direct, room secret proven on both sides)"
    ]
    assert await made.hear(ACCEPTED) == ["accepted job-1 by worker-1", "The worker takes the job, as job-1"]
    assert await made.hear(events.PackageSent(ONE), happened(ONE, 1), happened(ONE, 1), PeerMessage(ONE, DONE)) == []
    assert await made.hear(events.ResultDownloaded(), events.ResultUnpacked(), LinkLost(ONE)) == []
    assert len(made.view.job_events) == 1, "a repeated event is shown once"
    assert made.view.keys_read == 1
    assert made.runtime.outcome == events.Finished(None, DONE)
    assert made.presenter.phase is P.CONFIRMING, "the last one"


async def test_each_joined_room_is_shown(scene: MakeScene) -> None:
    made = await scene()
    await made.begin()
    for happens in (opened(ONE), ACCEPTED, events.PackageSent(ONE), PeerMessage(ONE, DONE)):
        await made.hear(happens)
        assert await made.hear(JOINED) == ["In room room-1 as client-1"]


async def test_the_place_in_the_line_is_shown(scene: MakeScene) -> None:
    made = await scene(wait=60.0, choice=BestWorker())
    made.runtime.post(made.wanted)
    assert await made.hear(QueuePosition(2, 3)) == ["In line for a worker: place 2 of 3"]


async def test_why_a_worker_was_left_is_shown_before_the_next_is_asked(scene: MakeScene) -> None:
    made = await scene(choice=BestWorker())
    await made.begin(present(WORKER, OTHER))
    assert await made.hear(LinkLost(ONE, BUSY)) == [
        "warning: worker-1: The worker is busy.",
        "Asking worker-2 for a link",
    ]
    refused = await made.hear(opened(TWO, OTHER), PeerMessage(TWO, BUSY))
    assert refused == ["Linked to worker-2 (direct, no room secret asked for)"], "the last reason ends the client"
    assert made.runtime.outcome.fault == BUSY


async def test_a_worker_that_is_tried_again_is_shown_with_the_reason(
    scene: MakeScene, autojump_clock: MockClock
) -> None:
    made = await scene()
    await made.begin(opened(ONE))
    assert (await made.hear(LinkLost(ONE, BROKEN))) == ["warning: worker-1: The connection was lost."]
    autojump_clock.jump(FIRST_PAUSE)
    assert await made.hear() == ["Asking worker-1 for a link"]


async def test_a_link_lost_in_mid_upload_and_the_return_are_shown(scene: MakeScene, autojump_clock: MockClock) -> None:
    made = await scene()
    await made.begin(opened(ONE), ACCEPTED)
    [lost] = await made.hear(LinkLost(ONE, BROKEN))
    assert lost.startswith("warning: ")
    assert "in mid upload" in lost
    autojump_clock.jump(FIRST_PAUSE)
    preparing = PeerMessage(TWO, JobState(JOB, JobStage.PREPARING, "Its package is on the way."))
    assert (await made.hear(opened(TWO), preparing))[-1] == "Back at the worker; sending the rest of the package"


async def test_a_package_that_is_sent_again_is_shown_with_its_new_job(
    scene: MakeScene, autojump_clock: MockClock, tmp_path: Path
) -> None:
    made = await scene()
    await made.begin(opened(ONE), ACCEPTED, LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await made.hear()
    assert await made.hear(LinkLost(TWO, UNKNOWN)) == [
        "Asking worker-1 for a link",
        "The worker has not kept the beginning of the package; all of it is sent again",
    ]
    shown = await made.hear(opened(THREE), PeerMessage(THREE, JobAccepted(JobId("job-2"), KEY)))
    assert shown[1:] == ["accepted job-2 by worker-1", "The worker takes the job, as job-2"]
    assert tickets.jobs_with_tickets(tmp_path / "tickets") == ["job-2"]


async def test_a_package_whose_last_byte_had_arrived_when_its_link_broke_is_known_to_run(
    scene: MakeScene, autojump_clock: MockClock
) -> None:
    made = await scene()
    await made.begin(opened(ONE), ACCEPTED, LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await made.hear(opened(TWO), PeerMessage(TWO, JobState(JOB, JobStage.RUNNING, "Epoch 1 of 20.")))
    [lost] = await made.hear(LinkLost(TWO, BROKEN))
    assert "its job goes on" in lost
    assert made.presenter.cancelled_fault.code is FaultCode.DETACHED


async def test_a_lost_link_is_shown_once_and_not_with_each_try(scene: MakeScene, autojump_clock: MockClock) -> None:
    made = await scene()
    await made.running()
    [lost] = await made.hear(LinkLost(ONE, BROKEN))
    assert "its job goes on" in lost
    for link in (TWO, THREE):
        autojump_clock.jump(10)
        assert await made.hear() == ["Asking worker-1 for a link"]
        assert await made.hear(LinkLost(link, BROKEN)) == []


async def test_a_link_lost_before_the_result_is_here_is_shown_with_where_the_result_is(scene: MakeScene) -> None:
    made = await scene()
    await made.running()
    [lost] = await made.hear(PeerMessage(ONE, DONE), LinkLost(ONE, BROKEN))
    assert "the result is kept there" in lost


async def test_a_worker_that_was_stopped_is_shown_only_as_the_end(scene: MakeScene) -> None:
    made = await scene()
    await made.running()
    stopped = Fault(FaultCode.CANCELLED, "The worker was stopped.")
    assert await made.hear(LinkLost(ONE, stopped)) == ["To come back to it: sleap-rtc attach job-1"]
    assert made.runtime.outcome.fault == stopped


# -------- the list of workers


async def test_the_list_follows_the_room_and_is_asked_once(scene: MakeScene) -> None:
    made = await scene(choice=events.AskPerson())
    made.view.picks = [OTHER]
    await made.begin()
    await made.hear(present(WORKER, OTHER))
    assert [len(workers) for workers in made.view.offered] == [1], "it is updated, not shown again"
    assert [worker.peer for worker in made.presenter._workers] == [WORKER, OTHER]
    made.view.answer.set()
    assert await made.hear() == ["Asking worker-2 for a link"]


async def test_a_worker_that_joins_in_the_moment_of_the_choice_opens_no_second_list(scene: MakeScene) -> None:
    made = await scene(choice=events.AskPerson())
    made.view.picks = [WORKER]
    await made.begin()
    made.view.answer.set()
    await made.hear(present(WORKER, OTHER))
    assert len(made.view.offered) == 1
    assert made.client.phase is P.CONNECTING


async def test_the_list_is_shown_again_when_the_chosen_worker_refuses(scene: MakeScene) -> None:
    made = await scene(choice=events.AskPerson())
    made.view.picks = [WORKER, OTHER]
    await made.begin(present(WORKER, OTHER))
    made.view.answer.set()
    await made.hear()
    assert await made.hear(LinkLost(ONE, BUSY)) == ["warning: worker-1: The worker is busy."]
    assert [[worker.peer for worker in workers] for workers in made.view.offered[1:]] == [[OTHER]]
    made.view.answer.set()
    assert await made.hear() == ["Asking worker-2 for a link"]


async def test_the_only_worker_is_taken_and_that_is_said(scene: MakeScene) -> None:
    made = await scene(choice=events.AskPerson(take_only=True))
    shown = await made.begin()
    assert any("is the only worker that can take the job now" in line for line in shown)
    assert made.client.phase is P.CONNECTING
    assert made.view.offered == []


async def test_without_a_terminal_and_without_a_free_worker_it_is_no_mistake_of_the_person(scene: MakeScene) -> None:
    made = await scene(choice=events.AskPerson(take_only=True))
    made.presenter.view = BaseView()  # type: ignore[abstract]
    made.runtime.post(made.wanted)
    made.presenter.runtime = made.runtime
    await made.hear(JOINED, present())
    assert made.runtime.outcome.fault == none_to_choose(made.presenter.options)


def test_where_there_is_nothing_to_choose_from_the_wishes_and_the_room_are_named(tmp_path: Path) -> None:
    config = load_config(server=None, environ={}, cwd=tmp_path, settings=tmp_path)
    options = ClientOptions(config, tmp_path / "toy.zip", RoomId("room-1"), "t", events.AskPerson(take_only=True))
    assert none_to_choose(options).text.startswith("No worker of the room can take the job now.")
    assert none_to_choose(options).text.endswith("sleap-rtc workers")
    text = none_to_choose(evolve(options, min_memory_mb=8000, remembered_as="mice")).text
    assert "can take the job now. It must have 8000 MB of GPU memory (--min-gpu-memory). To wait" in text
    assert text.endswith("sleap-rtc workers --room mice")
    assert "It must have as many GPUs as --gpus 2 asks for." in none_to_choose(evolve(options, min_gpus=2)).text


# -------- what the person wants


async def test_a_wish_to_stop_is_shown_and_told_to_the_worker(scene: MakeScene) -> None:
    made = await scene()
    await made.running()
    await made.hear(happened(ONE, 1))
    assert made.view.stop is not None
    made.view.stop()
    assert await made.hear() == [STOP_ASKED]
    assert made.told[-1] == StopJob(JOB, KEY)


@pytest.mark.parametrize(("policy", "hint"), [(None, CANCEL_HINT), (Interrupt.DETACH, "")])
async def test_where_no_model_trains_there_is_nothing_to_stop(
    scene: MakeScene, policy: Interrupt | None, hint: str
) -> None:
    made = await scene(kind=JobKind.TRACK, on_interrupt=policy)
    await made.running()
    made.presenter.request_stop()
    assert await made.hear() == [NOTHING_TO_STOP + hint]


async def test_before_the_job_runs_a_wish_to_stop_says_nothing(scene: MakeScene) -> None:
    made = await scene()
    made.presenter.request_stop()
    await made.begin(opened(ONE), ACCEPTED)
    made.presenter.request_stop()
    assert await made.hear() == []


@pytest.mark.parametrize(("policy", "text"), [(Interrupt.STOP, STOP_ASKED), (Interrupt.CANCEL, CANCEL_ASKED)])
async def test_a_policy_is_carried_out_and_shown_once_and_the_second_signal_leaves(
    scene: MakeScene, policy: Interrupt, text: str
) -> None:
    made = await scene(on_interrupt=policy)
    await made.running()
    assert made.presenter.interrupt()
    assert await made.hear() == [text]
    assert made.presenter.interrupt()
    assert await made.hear() == ["To come back to it: sleap-rtc attach job-1"]
    assert made.runtime.outcome.fault is not None
    assert made.runtime.outcome.fault.code is FaultCode.DETACHED


@pytest.mark.parametrize(
    ("answer", "text"), [(Interrupt.STOP, STOP_ASKED), (Interrupt.CANCEL, CANCEL_ASKED), (Interrupt.DETACH, None)]
)
async def test_without_a_policy_the_person_decides(scene: MakeScene, answer: Interrupt, text: str | None) -> None:
    made = await scene()
    made.view.answers = [answer]
    await made.running()
    assert made.presenter.interrupt()
    assert await made.hear() == []
    assert made.view.questions == [True]
    made.view.answer.set()
    assert await made.hear() == [text or "To come back to it: sleap-rtc attach job-1"]
    assert made.runtime.finished.is_set() == (answer is Interrupt.DETACH)


@pytest.mark.parametrize("pause", [True, False], ids=["while the question is open", "in one moment"])
async def test_a_second_interrupt_before_an_answer_leaves_the_job(scene: MakeScene, pause: bool) -> None:
    made = await scene()
    await made.running()
    assert made.presenter.interrupt()
    if pause:
        await made.hear()
    assert made.presenter.interrupt()
    await made.hear()
    assert len(made.view.questions) == 1
    assert made.runtime.finished.is_set()
    assert not made.presenter.interrupt(), "now the program can only be cancelled"


async def test_after_an_answer_the_next_interrupt_asks_again(scene: MakeScene) -> None:
    made = await scene()
    made.view.answers = [Interrupt.STOP]
    await made.running()
    await made.hear(happened(ONE, 1, PredictionStarted(JOB, 0)))
    made.presenter.interrupt()
    made.view.answer.set()
    assert await made.hear() == [NOTHING_TO_STOP + CANCEL_HINT]
    made.view.answer = trio.Event()
    made.presenter.interrupt()
    await made.hear()
    assert made.view.questions == [False, False]


@pytest.mark.parametrize("policy", [None, *Interrupt])
async def test_two_interrupts_in_one_moment_end_the_client_wherever_it_is(
    scene: MakeScene, policy: Interrupt | None
) -> None:
    way = (opened(ONE), ACCEPTED, events.PackageSent(ONE), PeerMessage(ONE, DONE))
    for length in range(len(way) + 1):
        made = await scene(on_interrupt=policy)
        await made.begin(*way[:length])
        made.presenter.interrupt()
        made.presenter.interrupt()
        await made.hear()
        assert made.runtime.finished.is_set(), made.presenter.phase


async def test_an_interrupt_while_the_result_is_unpacked_lets_the_next_one_cancel(scene: MakeScene) -> None:
    made = await scene()
    await made.running()
    await made.hear(PeerMessage(ONE, DONE), events.ResultDownloaded())
    assert made.presenter.interrupt()
    assert await made.hear() == []
    assert made.drain.is_set(), "so that the program does not ask the presenter any more"
    assert not made.runtime.finished.is_set()


async def test_before_the_client_has_its_wish_it_cannot_be_told(scene: MakeScene) -> None:
    made = await scene()
    assert not made.presenter.interrupt()


async def test_a_cancelled_client_detaches_once_its_package_is_sent_and_at_once_when_it_attaches(
    scene: MakeScene,
) -> None:
    made = await scene()
    before = (JOINED, opened(ONE), ACCEPTED)
    after = (events.PackageSent(ONE), PeerMessage(ONE, DONE), events.ResultDownloaded(), events.ResultUnpacked())
    await made.begin()
    for happens in (*before, *after, LinkLost(ONE)):
        await made.hear(happens)
        code = FaultCode.INTERRUPTED if happens in before else FaultCode.DETACHED
        assert made.presenter.cancelled_fault.code is code, happens
    attaching = await scene(credential=JobCredential(JOB, KEY))
    assert attaching.presenter.cancelled_fault.code is FaultCode.DETACHED


# -------- tickets


async def test_a_ticket_lives_from_the_accepted_job_to_its_result(scene: MakeScene, tmp_path: Path) -> None:
    made = await scene(output=Path("models"))
    folder = tmp_path / "tickets"
    await made.begin(opened(ONE))
    assert tickets.jobs_with_tickets(folder) == []
    await made.hear(ACCEPTED)
    kept = tickets.read(folder, JOB)
    assert (kept.key, kept.worker, kept.room, kept.package) == (KEY, WORKER, "room-1", "toy.zip")
    assert kept.output == str(await trio.Path("models").absolute())
    await made.hear(events.PackageSent(ONE), PeerMessage(ONE, DONE), events.ResultDownloaded())
    assert tickets.jobs_with_tickets(folder) == [JOB]
    await made.hear(events.ResultUnpacked(), LinkLost(ONE))
    assert tickets.jobs_with_tickets(folder) == []


async def test_a_ticket_of_which_nothing_is_left_goes_and_the_person_is_told(scene: MakeScene, tmp_path: Path) -> None:
    folder = tmp_path / "tickets"
    tickets.save(folder, JobTicket(JOB, KEY, WORKER, "room-1", "token", "ws://x", "toy.zip"))
    made = await scene(credential=JobCredential(JOB, KEY))
    assert (await made.begin(LinkLost(ONE, UNKNOWN)))[-1] == NOTHING_LEFT
    assert tickets.jobs_with_tickets(folder) == []


async def test_a_named_worker_may_be_the_wrong_one_so_the_ticket_stays(scene: MakeScene, tmp_path: Path) -> None:
    folder = tmp_path / "tickets"
    tickets.save(folder, JobTicket(JOB, KEY, WORKER, "room-1", "token", "ws://x", "toy.zip"))
    made = await scene(credential=JobCredential(JOB, KEY), worker_named=True)
    assert NOTHING_LEFT not in await made.begin(LinkLost(ONE, UNKNOWN))
    assert tickets.jobs_with_tickets(folder) == [JOB]


@pytest.mark.parametrize("more", [{"tickets_folder": None}, {"fetch": False}], ids=str)
async def test_nobody_is_advised_to_come_back_without_a_ticket_or_for_a_result_that_is_not_wanted(
    scene: MakeScene, more: dict[str, Any]
) -> None:
    made = await scene(**more)
    await made.running()
    assert await made.hear(events.Drain()) == []


async def test_a_job_that_was_attached_to_is_shown_as_accepted(scene: MakeScene) -> None:
    made = await scene(credential=JobCredential(JOB, KEY), fetch=False, follow=False)
    shown = await made.begin(opened(ONE), PeerMessage(ONE, JobState(JOB, JobStage.PREPARING, "It waits.")))
    assert shown[-1] == "accepted job-1 by worker-1"
    assert made.runtime.outcome == events.Finished()


async def test_tickets_that_cannot_be_written_or_removed_are_only_warnings(
    scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    made = await scene()
    await made.begin(opened(ONE))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda path, _target: refuse(path))
        assert [text for text in await made.hear(ACCEPTED) if "Read-only" in text] == [
            "warning: The job's ticket cannot be saved (Read-only file system): "
            "sleap-rtc attach will not find this job later."
        ]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        [warning] = await made.hear(events.Drain())
    assert warning.startswith("warning: The job's ticket cannot be removed (Read-only file system)")


async def test_who_is_to_leave_stays_with_the_job_if_its_ticket_cannot_be_saved(
    scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _target: Path) -> None:
        raise OSError(30, "Read-only file system")

    made = await scene(detach=True)
    await made.begin(opened(ONE))
    monkeypatch.setattr(Path, "replace", refuse)
    shown = await made.hear(ACCEPTED)
    assert [text for text in shown if text.endswith("So this client stays with it.")] != []
    await made.hear(events.PackageSent(ONE))
    assert not made.runtime.finished.is_set()


@pytest.mark.parametrize("ended", [None, DONE], ids=["runs", "has ended"])
async def test_who_has_left_is_told_how_to_come_back(tmp_path: Path, ended: JobEnded | None) -> None:
    config = SimpleNamespace(signaling_websocket="ws://127.0.0.1:9", connection_timeout=30.0)
    options = ClientOptions(config, Path("toy.zip"), RoomId("room-1"), "token", NamedWorker(WORKER), detach=True)  # type: ignore[arg-type]
    finished = events.Finished(None, ended, JOB)
    assert "attach" not in left_text(finished, options), "there is no ticket"
    text = left_text(finished, evolve(options, tickets_folder=tmp_path))
    assert text.endswith("sleap-rtc attach job-1")
    assert ("ended already" in text) == (ended is not None)


# -------- with a real worker


@define
class HurriedPresenter(Presenter):
    """A presenter whose person presses Ctrl-C as soon as the package is sent."""

    def watch(self, turn: Any) -> None:
        super().watch(turn)
        if (turn.phase, turn.next) == (P.UPLOADING, P.RUNNING):
            assert self.interrupt(), "the Client is told"


@define
class CancellingView(RecordingView):
    """A view whose person presses Ctrl-C when the second model trains."""

    presenter: Presenter | None = None
    cancelled: bool = False

    def news(self, news: Any, at: float) -> None:
        super().news(news, at)
        if isinstance(news, Progress) and news.model == 1 and not self.cancelled and self.presenter is not None:
            self.cancelled = self.presenter.interrupt()


async def run_presented(lab: Lab, presenter: Presenter) -> Fault | None:
    """Run a client with this presenter; return the fault, if it fails."""
    try:
        with trio.fail_after(HANG_TIME):  # without its person's wish, a model would train for longer
            await program.run_client(
                presenter.options,
                asyncio_loop=lab.asyncio_loop,
                view=presenter.view,
                drain=trio.Event(),
                presenter=presenter,
            )
    except RtcError as error:
        return error.fault
    return None


@pytest.mark.slow
async def test_a_stop_before_the_job_starts_stops_its_first_model(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    options = options_for(lab, worker, two_models(package, 100_000, 3), on_interrupt=Interrupt.STOP)
    assert await run_presented(lab, HurriedPresenter(view, options)) is None
    assert view.texts.count(STOP_ASKED) == 1
    epochs = [news.epoch for news in view.job_events if isinstance(news, Progress) and news.model == 1]
    assert max(epochs) == 2, "the second model is trained to its end"


@pytest.mark.slow
async def test_the_partial_result_of_a_cancelled_training_is_summarized_with_its_page(
    lab: Lab, package: MakePackage
) -> None:
    worker, view = await lab.start_worker(), CancellingView()
    options = options_for(lab, worker, two_models(package, 3, 100_000), on_interrupt=Interrupt.CANCEL)
    view.presenter = Presenter(view, options)
    fault = await run_presented(lab, view.presenter)
    assert fault is not None
    assert fault.code is FaultCode.CANCELLED
    assert view.texts.count(CANCEL_ASKED) == 1
    ending = view.ending
    assert ending is not None
    assert ending.folder is not None
    assert [path.name for path in ending.files] == ["training.html"]
    assert len(ending.models) == len(list(ending.folder.rglob("best.ckpt"))) > 0
    assert all(isinstance(each, Losses) for each in ending.losses)


# -------- refused before any server is reached


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Saves a ticket in this person's folder of tickets."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def put(**more: str) -> None:
        ticket = JobTicket(JOB, "key", "worker-1", "room-1", "token", "ws://127.0.0.1:9", "toy.zip", **more)
        tickets.save(tmp_path / STATE / "jobs", ticket)

    return put


@pytest.mark.parametrize(
    "words",
    [
        ["train", "toy.zip", "--session-string", "gibberish"],
        ["track", "toy.mp4", "--session-string", "gibberish"],
        ["client", "train", "--pkg-path", "toy.zip", "--session-string", "gibberish"],
        ["attach", "nojob"],
        ["jobs", "fetch", "nojob"],
    ],
)
def test_json_reports_every_end(
    credential: Callable[..., None], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    credential()
    fault, code = ("no_such_job", ExitCode.NOT_AVAILABLE) if "nojob" in words else ("usage", ExitCode.USAGE)
    assert run([*words, "--json"]) == code
    printed = capsys.readouterr()
    ended = json.loads(printed.out)
    assert (ended["event"], ended["fault"], ended["exit_code"]) == ("ended", fault, code)
    assert ended["text"] in printed.err


def test_a_prediction_is_not_promised_an_early_stop(
    credential: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    credential(kind=JobKind.TRACK)
    assert run(["attach", "--on-interrupt", "stop"]) == ExitCode.USAGE
    assert run(["track", "toy.mp4", "--on-interrupt", "stop"]) == ExitCode.USAGE
    printed = capsys.readouterr().err
    assert "A prediction cannot be stopped early" in printed
    assert "'stop' is not one of 'cancel', 'detach'" in printed
