"""The client's face: what leaving means in any hurry, what becomes of wishes that come early, and the last words."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from attrs import define, field

from actors.events import Finished, JobCredential, LinkLost, NamedWorker, PackageSent, ResultDownloaded, SendPackage
from actors.router import Router
from cli import run
from protocol.faults import FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobKind, JobStage, JobState, Progress
from rtc.client import tickets
from rtc.client.options import ClientOptions
from rtc.client.presenter import NOTHING_TO_STOP, STOP_ASKED, Presenter
from rtc.client.program import ClientProgram
from rtc.client.tickets import JobTicket
from rtc.common.errors import ExitCode, RtcError
from rtc.terminal import Interrupt, Losses, Mode
from rtc.testing.lab import Lab, LabWorker, RecordingView

MakePackage = Callable[..., Path]
PATIENCE = 60.0
JOB = JobId("job-1")


def order_for(lab: Lab, worker: LabWorker, package: Path, **more: object) -> ClientOptions:
    there, folder = worker.ready, lab.folder
    where = {"output": folder / "out", "tickets": folder / "tickets", "choice": NamedWorker(worker.peer)}
    return ClientOptions(lab.config, package, there.room, there.token, **(where | more))


# -------- leaving in a hurry


@define
class Hasty:
    """A client in a terminal whose person does not wait."""

    watch: ClientProgram
    drain: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    over: trio.Event = field(factory=trio.Event)
    code: ExitCode | None = None

    async def run(self, lab: Lab) -> None:
        with self.scope:
            try:
                await self.watch.run(lab.asyncio_loop, self.drain)
                self.code = ExitCode.DONE
            except RtcError as error:
                self.code = error.exit_code
        if self.code is None:
            self.code = self.watch.stopped()
        self.over.set()

    async def presenter(self, ready: Callable[[Presenter], bool]) -> Presenter:
        """Its front, as soon as that is so."""
        with trio.fail_after(PATIENCE):
            while self.watch._presenter is None or not ready(self.watch._presenter):  # noqa: ASYNC110 (fields have no events)
                await trio.sleep(0.01)
        return self.watch._presenter

    async def ended(self) -> ExitCode | None:
        with trio.fail_after(PATIENCE):
            await self.over.wait()
        return self.code


def begin(lab: Lab, options: ClientOptions, mode: Mode = Mode.NORMAL) -> Hasty:
    hasty = Hasty(ClientProgram(options, mode))
    lab.nursery.start_soon(hasty.run, lab)
    return hasty


def trains(presenter: Presenter) -> bool:
    return presenter._seen > 0


async def test_a_second_wish_to_leave_while_the_link_is_closed_changes_nothing(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    hasty = begin(lab, order_for(lab, worker, package(epochs=500, seconds=0.1)))
    presenter = await hasty.presenter(trains)
    assert presenter.runtime is not None
    hasty.drain.set()
    await presenter.runtime.finished.wait()
    hasty.scope.cancel()
    assert await hasty.ended() is ExitCode.DETACHED
    assert f"sleap-rtc attach {presenter.job}" in capsys.readouterr().out


async def test_two_wishes_to_leave_in_one_moment_detach_with_the_same_words(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    hasty = begin(lab, order_for(lab, worker, package(epochs=500, seconds=0.1)), Mode.JSON)
    presenter = await hasty.presenter(trains)
    hasty.drain.set()
    hasty.scope.cancel()
    assert await hasty.ended() is ExitCode.DETACHED
    told = capsys.readouterr()
    assert f"sleap-rtc attach {presenter.job}" in told.out
    assert '"outcome": "detached"' in told.out.splitlines()[-1]
    assert "stays on the worker" in told.err


async def test_who_leaves_in_one_moment_before_anything_began_is_told_so(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    hasty = begin(lab, order_for(lab, worker, package()), Mode.JSON)
    await hasty.presenter(lambda presenter: presenter.runtime is not None)
    hasty.drain.set()
    hasty.scope.cancel()
    assert await hasty.ended() is ExitCode.INTERRUPTED
    told = capsys.readouterr()
    assert '"outcome": "interrupted"' in told.out.splitlines()[-1]
    assert "before the job began" in told.err


async def test_a_result_that_came_home_is_told_however_much_of_a_hurry_there_is(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    hasty = begin(lab, order_for(lab, worker, package()))
    presenter = await hasty.presenter(trains)
    assert presenter.runtime is not None
    await presenter.runtime.finished.wait()
    hasty.scope.cancel()
    assert await hasty.ended() is ExitCode.DONE
    assert "Results are in" in capsys.readouterr().out
    assert tickets.known_jobs(lab.folder / "tickets") == []


@pytest.fixture
def face(tmp_path: Path) -> Callable[..., Presenter]:
    """Makes a front without a house."""

    def make(**more: object) -> Presenter:
        # nothing is reached, so the configuration is of no weight
        options = ClientOptions(
            None, Path("toy.zip"), "room-1", "token", NamedWorker("worker-1"), tickets=tmp_path, **more
        )  # type: ignore[arg-type]
        return Presenter(RecordingView(), options)

    return make


def test_a_job_stays_the_workers_until_the_end_and_is_so_at_once_for_who_comes_back(
    face: Callable[..., Presenter],
) -> None:
    presenter = face()
    for effect, left in (
        (SendPackage(LinkId(1), JOB), FaultCode.INTERRUPTED),
        (PackageSent(), FaultCode.DETACHED),
        (ResultDownloaded(), FaultCode.DETACHED),
        (Finished(), FaultCode.DETACHED),
    ):
        presenter.tap(effect)
        assert presenter.left.code is left, effect
    assert face(credential=JobCredential(JOB, "key")).left.code is FaultCode.DETACHED


async def test_a_package_whose_last_byte_was_over_when_its_link_broke_is_known_to_run(
    face: Callable[..., Presenter],
) -> None:
    presenter = face()
    presenter.job = JOB
    presenter.runtime = runtime = SimpleNamespace(links=SimpleNamespace(peer=lambda _link: None), router=Router({}))
    presenter.tap(SendPackage(LinkId(1), JOB))
    presenter.tap(LinkLost(LinkId(1)))
    await presenter.receive(runtime, LinkId(2), JobState(JOB, JobStage.RUNNING, "Epoch 1 of 20."))
    presenter.tap(LinkLost(LinkId(2)))
    _, first, second = presenter.view.told
    assert "in mid upload" in first
    assert "its job goes on" in second
    assert presenter.begun


# -------- tickets


def test_a_ticket_that_cannot_be_removed_spoils_no_good_end(
    face: Callable[..., Presenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets.keep(tmp_path, JobTicket(JOB, "key", "worker-1", "room-1", "token", "ws://x", "toy.zip"))

    def refuse(_path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    presenter = face()
    presenter.job = JOB
    presenter.settle(Finished(), unpacked=True)
    [warning] = presenter.view.told
    assert warning.startswith("warning: The job's ticket cannot be removed (Read-only file system)")


# -------- a wish to stop that comes early


async def test_a_wish_to_stop_that_comes_before_the_job_starts_stops_its_first_model(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Presenter.tap

    def stop_at_once(presenter: Presenter, effect: object) -> None:
        tap(presenter, effect)
        if isinstance(effect, PackageSent):
            assert presenter.interrupted(), "it is taken care of"

    monkeypatch.setattr(Presenter, "tap", stop_at_once)
    worker = await lab.start_worker()
    made = package(models=("a", "b"), epochs=60, seconds=0.02)
    with trio.fail_after(PATIENCE):
        run = await lab.run_client(worker, made, on_interrupt=Interrupt.STOP)
    assert run.fault is None
    assert STOP_ASKED in run.view.told
    receive = [news.model for news in run.view.news_heard if isinstance(news, Progress)]
    assert receive.count(0) < receive.count(1)


def test_where_no_model_trains_there_is_nothing_to_stop(face: Callable[..., Presenter]) -> None:
    presenter = face(kind=JobKind.TRACK, on_interrupt=Interrupt.DETACH)
    presenter.begun = True
    presenter.stop()
    assert presenter.view.told == [NOTHING_TO_STOP]


# -------- what is here of a job that was cancelled


async def test_what_there_is_of_a_cancelled_training_is_told_with_its_page(lab: Lab, package: MakePackage) -> None:
    cancelled: list[bool] = []
    happened = Presenter._happened

    def cancel_in_the_second(presenter: Presenter, event: object) -> None:
        happened(presenter, event)
        news = event.news
        if isinstance(news, Progress) and news.model == 1 and not cancelled:
            cancelled.append(presenter.interrupted())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Presenter, "_happened", cancel_in_the_second)
        worker = await lab.start_worker()
        made = package(models=("a", "b"), epochs=30, seconds=0.05)
        with trio.fail_after(PATIENCE):
            run = await lab.run_client(worker, made, on_interrupt=Interrupt.CANCEL)
    ending = run.view.ending
    assert run.fault is not None
    assert run.fault.code is FaultCode.CANCELLED
    assert ending is not None
    assert ending.folder is not None
    assert [path.name for path in ending.files] == ["training.html"]
    assert len(ending.models) == len(list(ending.folder.rglob("best.ckpt"))) > 0
    assert all(isinstance(each, Losses) for each in ending.losses)


# -------- refused before anything is reached


@pytest.fixture
def credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a ticket where this person's are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def put(**more: str) -> None:
        ticket = JobTicket(JOB, "key", "worker-1", "room-1", "token", "ws://127.0.0.1:9", "toy.zip", **more)
        tickets.keep(tmp_path / ".sleap-rtc" / "jobs", ticket)

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
def test_programs_are_told_of_every_end(
    credential: Callable[..., None], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    credential()
    assert run([*words, "--json"]) == ExitCode.USAGE
    told = capsys.readouterr()
    ended = json.loads(told.out)
    assert (ended["event"], ended["fault"], ended["exit_code"]) == ("ended", "usage", 2)
    assert ended["text"] in told.err


def test_a_prediction_is_not_promised_an_early_stop(
    credential: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    credential(kind=JobKind.TRACK.value)
    assert run(["attach", "--on-interrupt", "stop"]) == ExitCode.USAGE
    assert run(["track", "toy.mp4", "--on-interrupt", "stop"]) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "A prediction cannot be stopped early" in told
    assert "'stop' is not one of 'cancel', 'detach'" in told
