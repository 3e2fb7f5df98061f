"""The presenter: the effect of leaving at any moment, the effect of an early stop, and how the outcome is shown."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import define, field

from actors.events import (
    Finished,
    JobCredential,
    JoinedRoom,
    LinkLost,
    NamedWorker,
    PackageSent,
    ResultDownloaded,
    SendPackage,
)
from actors.router import Router
from cli import run
from protocol.faults import FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobKind, JobStage, JobState, Progress
from rtc.client import program, tickets
from rtc.client.file_transfers import FileTransfers
from rtc.client.options import ClientOptions
from rtc.client.presenter import NOTHING_TO_STOP, STOP_ASKED, Presenter
from rtc.client.program import ClientProgram
from rtc.client.tickets import JobTicket
from rtc.common.errors import ExitCode, RtcError
from rtc.packages.plan import Plan, inspect_package
from rtc.terminal import Interrupt, Losses, Mode
from rtc.testing.lab import Lab, LabWorker, RecordingView
from rtc.testing.limits import HANG_TIME

MakePackage = Callable[..., Path]
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

    async def presenter(self, ready: Callable[[Presenter], bool]) -> Presenter:
        """Wait until `ready` is true of the client's presenter; return the presenter."""
        with trio.fail_after(HANG_TIME):
            while self.program._presenter is None or not ready(self.program._presenter):  # noqa: ASYNC110 (fields have no events)
                await trio.sleep(0.01)
        return self.program._presenter

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


def trains(presenter: Presenter) -> bool:
    return presenter._last_shown_seq > 0


@pytest.mark.slow
async def test_a_second_signal_while_the_link_is_closed_changes_nothing(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    impatient = begin(lab, options_for(lab, worker, package(epochs=10_000, seconds=0.1)))
    presenter = await impatient.presenter(trains)
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
    presenter = await impatient.presenter(trains)
    impatient.drain.set()
    impatient.scope.cancel()
    assert await impatient.ended() is ExitCode.DETACHED
    printed = capsys.readouterr()
    assert f"sleap-rtc attach {presenter.job}" in printed.out
    assert '"outcome": "detached"' in printed.out.splitlines()[-1]
    assert "stays on the worker" in printed.err


def cancel_as_the_package_is_inspected(patch: pytest.MonkeyPatch, impatient: ImpatientClient) -> None:
    def inspect(*arguments: Any, **options: Any) -> Plan:
        trio.from_thread.run_sync(impatient.scope.cancel)
        return inspect_package(*arguments, **options)

    patch.setattr(program, "inspect_package", inspect)


def cancel_as_the_transfers_start(patch: pytest.MonkeyPatch, impatient: ImpatientClient) -> None:
    run_transfers = FileTransfers.run

    async def start(transfers: FileTransfers, *, task_status: trio.TaskStatus[None]) -> None:
        impatient.scope.cancel()
        await run_transfers(transfers, task_status=task_status)

    patch.setattr(FileTransfers, "run", start)


def cancel_in_the_room(patch: pytest.MonkeyPatch, impatient: ImpatientClient) -> None:
    show_step = Presenter.show_step

    def show(presenter: Presenter, effect: object) -> None:
        show_step(presenter, effect)
        if isinstance(effect, JoinedRoom):
            impatient.scope.cancel()

    patch.setattr(Presenter, "show_step", show)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cancel", [cancel_as_the_package_is_inspected, cancel_as_the_transfers_start, cancel_in_the_room]
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
async def test_a_result_that_is_here_is_shown_although_the_client_is_cancelled(
    lab: Lab, package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await lab.start_worker()
    impatient = begin(lab, options_for(lab, worker, package()))
    presenter = await impatient.presenter(trains)
    assert presenter.runtime is not None
    await presenter.runtime.finished.wait()
    impatient.scope.cancel()
    assert await impatient.ended() is ExitCode.DONE
    assert "Results are in" in capsys.readouterr().out
    assert tickets.jobs_with_tickets(lab.folder / "tickets") == []


@pytest.fixture
def face(tmp_path: Path) -> Callable[..., Presenter]:
    """Makes a presenter without a runtime."""

    def make(**more: object) -> Presenter:
        # no server is reached, so the configuration does not matter
        options = ClientOptions(
            None, Path("toy.zip"), "room-1", "token", NamedWorker("worker-1"), tickets_folder=tmp_path, **more
        )  # type: ignore[arg-type]
        return Presenter(RecordingView(), options)

    return make


def test_a_cancelled_client_detaches_once_its_package_is_sent_and_at_once_when_it_attaches(
    face: Callable[..., Presenter],
) -> None:
    presenter = face()
    for effect, code in (
        (SendPackage(LinkId(1), JOB), FaultCode.INTERRUPTED),
        (PackageSent(), FaultCode.DETACHED),
        (ResultDownloaded(), FaultCode.DETACHED),
        (Finished(), FaultCode.DETACHED),
    ):
        presenter.show_step(effect)
        assert presenter.cancelled_fault.code is code, effect
    assert face(credential=JobCredential(JOB, "key")).cancelled_fault.code is FaultCode.DETACHED


async def test_a_package_whose_last_byte_had_arrived_when_its_link_broke_is_known_to_run(
    face: Callable[..., Presenter],
) -> None:
    presenter = face()
    presenter.job = JOB
    presenter.runtime = runtime = SimpleNamespace(links=SimpleNamespace(peer=lambda _link: None), router=Router({}))
    presenter.show_step(SendPackage(LinkId(1), JOB))
    presenter.show_step(LinkLost(LinkId(1)))
    await presenter.receive(runtime, LinkId(2), JobState(JOB, JobStage.RUNNING, "Epoch 1 of 20."))
    presenter.show_step(LinkLost(LinkId(2)))
    _, first, second = presenter.view.texts
    assert "in mid upload" in first
    assert "its job goes on" in second
    assert presenter.job_on_worker


# -------- tickets


def test_a_ticket_that_cannot_be_removed_is_only_a_warning(
    face: Callable[..., Presenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets.save(tmp_path, JobTicket(JOB, "key", "worker-1", "room-1", "token", "ws://x", "toy.zip"))

    def refuse(_path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    presenter = face()
    presenter.job = JOB
    presenter.settle_ticket(Finished(), unpacked=True)
    [warning] = presenter.view.texts
    assert warning.startswith("warning: The job's ticket cannot be removed (Read-only file system)")


# -------- an early stop


@pytest.mark.slow
async def test_a_stop_before_the_job_starts_stops_its_first_model(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_step = Presenter.show_step

    def stop_at_once(presenter: Presenter, effect: object) -> None:
        show_step(presenter, effect)
        if isinstance(effect, PackageSent):
            assert presenter.handle_interrupt(), "it is handled"

    monkeypatch.setattr(Presenter, "show_step", stop_at_once)
    worker = await lab.start_worker()
    with trio.fail_after(HANG_TIME):  # without a stop, the first model would train for longer
        run = await lab.run_client(worker, two_models(package, 100_000, 3), on_interrupt=Interrupt.STOP)
    assert run.fault is None
    assert STOP_ASKED in run.view.texts
    epochs = [news.epoch for news in run.view.job_events if isinstance(news, Progress) and news.model == 1]
    assert max(epochs) == 2, "the second model is trained to its end"


def test_where_no_model_trains_there_is_nothing_to_stop(face: Callable[..., Presenter]) -> None:
    presenter = face(kind=JobKind.TRACK, on_interrupt=Interrupt.DETACH)
    presenter.job_on_worker = True
    presenter.request_stop()
    assert presenter.view.texts == [NOTHING_TO_STOP]


# -------- the partial result of a job that was cancelled


@pytest.mark.slow
async def test_the_partial_result_of_a_cancelled_training_is_summarized_with_its_page(
    lab: Lab, package: MakePackage
) -> None:
    cancelled: list[bool] = []
    handle_job_event = Presenter._handle_job_event

    def cancel_in_the_second(presenter: Presenter, event: object) -> None:
        handle_job_event(presenter, event)
        news = event.news
        if isinstance(news, Progress) and news.model == 1 and not cancelled:
            cancelled.append(presenter.handle_interrupt())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Presenter, "_handle_job_event", cancel_in_the_second)
        worker = await lab.start_worker()
        with trio.fail_after(HANG_TIME):
            run = await lab.run_client(worker, two_models(package, 3, 100_000), on_interrupt=Interrupt.CANCEL)
    ending = run.view.ending
    assert run.fault is not None
    assert run.fault.code is FaultCode.CANCELLED
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
        tickets.save(tmp_path / ".sleap-rtc" / "jobs", ticket)

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
    assert run([*words, "--json"]) == ExitCode.USAGE
    printed = capsys.readouterr()
    ended = json.loads(printed.out)
    assert (ended["event"], ended["fault"], ended["exit_code"]) == ("ended", "usage", 2)
    assert ended["text"] in printed.err


def test_a_prediction_is_not_promised_an_early_stop(
    credential: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    credential(kind=JobKind.TRACK.value)
    assert run(["attach", "--on-interrupt", "stop"]) == ExitCode.USAGE
    assert run(["track", "toy.mp4", "--on-interrupt", "stop"]) == ExitCode.USAGE
    printed = capsys.readouterr().err
    assert "A prediction cannot be stopped early" in printed
    assert "'stop' is not one of 'cancel', 'detach'" in printed
