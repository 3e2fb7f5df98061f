"""A job runs its models in order, emits events, and leaves no process behind."""

import errno
import io
import json
import os
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
import trio
import yaml
from job_run import JobRun

from protocol.fields import COUNT_MAX, is_printable
from protocol.jobs import (
    LOG_LINE_MAX,
    LOG_LINES_MAX,
    FramesDone,
    JobEvent,
    JobKind,
    JobNote,
    JobStarted,
    LogLines,
    ModelStarted,
    ModelTrained,
    NoteKind,
    Outcome,
    PredictionStarted,
    Progress,
    StopScope,
)
from protocol.wire import TO_CLIENT, decode, encode
from rtc.common import process_group
from rtc.common.errors import RtcError
from rtc.common.job_result import JobResult
from rtc.packages.hydra_overrides import Override
from rtc.packages.inference import PredictStep
from rtc.packages.plan import TrainStep
from rtc.runner import run_plan
from rtc.runner.devices import SILENT_DRIVER
from rtc.runner.silence import SilenceWatch, Usage
from rtc.runner.step_context import StepContext
from rtc.sleap_nn import output, zmq_progress
from rtc.sleap_nn.commands import (
    Ports,
    find_sleap_nn,
    predict_command,
    python_of,
    train_command,
)
from rtc.sleap_nn.environment import SHIM
from rtc.sleap_nn.hardware_lines import HardwareCause, advice
from rtc.sleap_nn.output import JobLog, clean_line, failure_reason
from rtc.testing.limits import HANG_TIME
from rtc.testing.sleap_nn_stand_in import describe_knobs
from rtc.testing.stand_in import install_stand_in, make_inference_package, make_package

LEGACY = {
    "data": {"labels": {"training_labels": "/home/old/flies.slp"}},
    "model": {"backbone": {"unet": {"filters": 8}}, "heads": {"centroid": {"sigma": 2.5}}},
    "optimization": {"epochs": 2},
    "outputs": {"run_name": "old.centroid.n=3"},
}


class Job(JobRun):
    """A job of whose events a test can wait for one."""

    def __init__(self, folder, sleap_nn):
        super().__init__(folder, sleap_nn)
        self.progressed = trio.Event()
        self.changed = trio.Event()

    def emit(self, news):
        super().emit(news)
        if isinstance(news, Progress):
            self.progressed.set()
        self.changed.set()

    async def until(self, holds):
        """Wait until an emitted event fits."""
        while not any(map(holds, self.emitted)):
            self.changed = trio.Event()
            await self.changed.wait()

    async def stopped(self, package, scope, when):
        """Run a package, request a stop as soon as an event fits `when`, and return how the job ends."""
        async with trio.open_nursery() as nursery:

            async def request_stop():
                await self.until(when)
                self.switch.request_stop(scope)

            nursery.start_soon(request_stop)
            return await self.run(package)


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job", install_stand_in(tmp_path / "a bin"))


async def until_gone(pid):
    """Wait until a process has ended, whether or not its parent has waited for it (Linux)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with trio.fail_after(HANG_TIME):
        await trio.lowlevel.wait_readable(descriptor)
    os.close(descriptor)


@pytest.mark.slow
async def test_two_models_are_trained_one_after_the_other(job, tmp_path):
    package = make_package(tmp_path / "p.zip", ("centroid", "centered_instance"), epochs=3)
    assert await job.run(package) == JobResult(Outcome.DONE, "Trained 2 models: centroid, centered_instance.")
    assert job.of(JobNote) == [JobNote("j", "The job runs on the CPU: this will be slow.")]
    assert job.of(JobStarted) == [JobStarted("j", ("centroid", "centered_instance"))]
    assert job.of(ModelStarted) == [ModelStarted("j", 0, 3), ModelStarted("j", 1, 3)]
    assert [(news.model, news.epoch) for news in job.of(Progress) if news.batch is None] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    assert job.of(Progress)[-1] == Progress("j", 1, 2, None, 1 / 3, 1 / 2, 1.1 / 3)
    assert sorted(path.parent.name for path in job.folder.rglob("best.ckpt")) == [
        "260101_120000.centered_instance.n=12", "260101_120000.centroid.n=12",
    ]  # fmt: skip
    assert sum("epoch 2 done" in line for line in job.lines()) == 2
    assert (job.folder / "job.log").read_text().count("epoch 2 done") == 2


@pytest.mark.slow
async def test_a_gpu_that_pytorch_cannot_use_is_warned_about_while_the_job_runs(job, tmp_path):
    package = make_package(tmp_path / "p.zip", say=["2026-11-28 05:51:56 | Training on cpu accelerator"] * 2)
    await job.run(package, accelerator="auto", gpus=("GPU-a", "GPU-b"))
    told, warned = job.of(JobNote)
    assert (told.text, warned.kind) == (SILENT_DRIVER, NoteKind.WARNING)
    assert warned.text.startswith("PyTorch on the worker cannot use its GPU, so the job runs on the CPU")
    assert any("++trainer_config.trainer_devices=2" in line for line in job.lines())


@pytest.mark.slow
async def test_what_was_trained_is_predicted_with(job, tmp_path):
    package = make_package(tmp_path / "p.zip", ("centroid", "centered_instance"), predict=True, frames=16)
    assert await job.run(package) == JobResult(
        Outcome.DONE, "Trained 2 models: centroid, centered_instance, and predicted 16 frames in toy.pkg.slp."
    )
    assert job.of(JobStarted) == [JobStarted("j", ("centroid", "centered_instance"), ("toy.pkg.slp",))]
    assert job.of(ModelTrained) == [ModelTrained("j", 0), ModelTrained("j", 1)]
    assert job.of(PredictionStarted) == [PredictionStarted("j", 0)]
    assert job.of(FramesDone)[-1] == FramesDone("j", 0, 16, 16, 10.0, 0.0)
    assert job.emitted.index(ModelTrained("j", 1)) < job.emitted.index(PredictionStarted("j", 0))
    assert (job.folder / "toy.pkg.slp.predictions.slp").is_file()
    assert not any("n_processed" in line for line in job.lines())
    assert sum("| predicting" in line for line in job.lines()) == 1


@pytest.mark.slow
async def test_a_package_of_models_and_data_is_predicted_on(job, tmp_path):
    package = make_inference_package(tmp_path / "p.zip", data=("a.mp4", "b.mp4"), options={"frames": "0-4"})
    assert await job.run(package) == JobResult(Outcome.DONE, "Predicted 10 frames in 2 files: a.mp4, b.mp4.")
    assert job.of(JobStarted) == [JobStarted("j", (), ("a.mp4", "b.mp4"))]
    assert [news.prediction for news in job.of(FramesDone) if news.done == news.total] == [0, 1]


@pytest.mark.slow
async def test_tracking_is_reported_as_a_second_pass(job, tmp_path):
    result = await job.run(make_inference_package(tmp_path / "p.zip", options={"max_tracks": 2}, frames=7))
    assert result.text == "Predicted 7 frames in toy.mp4."
    assert job.of(PredictionStarted) == [PredictionStarted("j", 0, tracking=True)]
    assert [news.pass_index for news in job.of(FramesDone) if news.done == 7] == [0, 1]


@pytest.mark.slow
async def test_tracking_what_was_predicted_before_is_one_pass(job, tmp_path):
    options = {"tracking": True, "frames": "0-6"}
    result = await job.run(make_inference_package(tmp_path / "p.zip", (), ("a.slp",), options=options))
    assert result.text == "Predicted 7 frames in a.slp."
    assert job.of(PredictionStarted) == [PredictionStarted("j", 0)]


@pytest.mark.slow
async def test_models_survive_a_prediction_that_fails(job, tmp_path):
    package = make_package(tmp_path / "p.zip", predict=True, predict_crash="CUDA out of memory")
    assert await job.run(package) == JobResult(
        Outcome.FAILED,
        f"Predicting on toy.pkg.slp failed. {advice(HardwareCause.GPU_MEMORY, JobKind.TRACK)} "
        "sleap-nn ended with status 1: RuntimeError: CUDA out of memory. "
        "What was made is not lost (trained and kept: centroid).",
    )
    assert len(list(job.folder.rglob("best.ckpt"))) == 1
    assert job.of(FramesDone)


@pytest.mark.slow
async def test_status_0_without_predictions_is_a_failure(job, tmp_path):
    result = await job.run(make_inference_package(tmp_path / "p.zip", no_predictions=True))
    assert result.outcome is Outcome.FAILED
    assert "without leaving predictions" in result.text


def rewritten(package, name, change):
    """Return the package with another YAML file `name`, whose content `change` has changed in place."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    content = yaml.safe_load(files[name])
    change(content)
    with zipfile.ZipFile(package, "w") as archive:
        for each, data in (files | {name: yaml.safe_dump(content)}).items():
            archive.writestr(each, data)
    return package


def changed(package, **changes):
    """Return the package with other fields in its one prediction."""
    return rewritten(package, "jobs.yaml", lambda jobs: jobs["inference"][0].update(changes))


@pytest.mark.slow
async def test_a_folder_for_predictions_is_made(job, tmp_path):
    package = changed(make_inference_package(tmp_path / "p.zip"), output_path="out/x.predictions.slp")
    assert (await job.run(package)).outcome is Outcome.DONE
    assert (job.folder / "out/x.predictions.slp").is_file()


@pytest.mark.slow
async def test_what_is_left_out_is_in_the_log(job, tmp_path):
    package = changed(make_package(tmp_path / "p.zip", predict=True), models=["/home/lab/models/old"])
    assert (await job.run(package)).text == "Trained 1 model: centroid."
    assert any(line.startswith("A prediction is left out. The model 'old' is missing") for line in job.lines())
    assert job.of(JobStarted) == [JobStarted("j", ("centroid",))]


@pytest.mark.slow
async def test_cancelling_ends_a_prediction(job, tmp_path):
    package = make_inference_package(tmp_path / "p.zip", predicting=3000, grandchild=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run, package)
        await job.until(lambda news: isinstance(news, LogLines) and any("predicting" in line for line in news.lines))
        nursery.cancel_scope.cancel()
    await until_gone(int((job.folder / "grandchild.pid").read_text()))
    assert not (job.folder / "toy.mp4.predictions.slp").exists()


# -------- stopping early


TWO = ("centroid", "centered_instance")
SLOW = {"epochs": 5000, "seconds": 0.05}
"""A model that trains longer than any test waits: a test that ends has stopped it."""


def first(kind, **fields):
    """Return a function that is true of an event of this kind with these fields."""
    return lambda news: isinstance(news, kind) and all(getattr(news, name) == value for name, value in fields.items())


@pytest.mark.slow
async def test_this_stops_one_model_and_the_next_is_trained_whole(job, tmp_path):
    package = make_package(tmp_path / "p.zip", TWO, predict=True, **SLOW)
    short = {"epochs": 3, "seconds": 0.02}
    rewritten(package, "centered_instance.yaml", lambda config: config.update(description=describe_knobs(short)))
    result = await job.stopped(package, StopScope.THIS, first(Progress, model=0))
    assert result.text.startswith("Trained 2 models: centroid, centered_instance, and predicted 16 frames")
    assert [news.epoch for news in job.of(Progress) if news.model == 1 and news.batch is None] == [0, 1, 2]


@pytest.mark.slow
async def test_all_stops_the_model_that_trains_and_begins_nothing_more(job, tmp_path):
    package = make_package(tmp_path / "p.zip", TWO, predict=True, **SLOW)
    assert await job.stopped(package, StopScope.ALL, first(Progress)) == JobResult(
        Outcome.DONE,
        "Stopped early: trained 1 of 2 models: centroid; left out: centered_instance and the prediction.",
    )
    assert len(job.of(ModelStarted)) == 1
    assert len(list(job.folder.rglob("best.ckpt"))) == 1


@pytest.fixture
def often(monkeypatch):
    """Repeat the command to stop often, so that sleap-nn's start need not take long."""
    monkeypatch.setattr(zmq_progress, "STOP_INTERVAL", 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("scope", StopScope)
async def test_a_stop_is_not_lost_while_sleap_nn_starts(scope, job, tmp_path, often):
    package = make_package(tmp_path / "p.zip", startup=0.2, **SLOW)
    result = await job.stopped(package, scope, first(ModelStarted))
    assert result == JobResult(Outcome.DONE, "Trained 1 model: centroid.")


@pytest.mark.slow
@pytest.mark.parametrize("scope", StopScope)
async def test_a_stop_is_not_lost_while_an_old_configuration_is_converted(scope, job, tmp_path, often):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("centroid.json", json.dumps(LEGACY | {"stand_in": {"startup": 0.1} | SLOW}))
        archive.writestr("x.pkg.slp", "")
        archive.writestr("train-script.sh", "sleap-train centroid.json x.pkg.slp\n")
    result = await job.stopped(tmp_path / "p.zip", scope, first(ModelStarted))
    assert result == JobResult(Outcome.DONE, "Trained 1 model: centroid.")


@pytest.mark.slow
async def test_this_during_evaluation_does_not_hit_the_next_model(job, tmp_path):
    package = make_package(tmp_path / "p.zip", TWO, epochs=3, evaluation=0.2)
    result = await job.stopped(package, StopScope.THIS, first(ModelTrained, model=0))
    assert result.text == "Trained 2 models: centroid, centered_instance."
    assert [news.epoch for news in job.of(Progress) if news.batch is None] == [0, 1, 2, 0, 1, 2]


@pytest.mark.slow
async def test_all_during_evaluation_begins_nothing_more(job, tmp_path):
    package = make_package(tmp_path / "p.zip", ("centroid",), predict=True, evaluation=0.2)
    result = await job.stopped(package, StopScope.ALL, first(ModelTrained))
    assert result.text == "Stopped early: trained 1 model: centroid; left out: the prediction."
    assert job.of(PredictionStarted) == []


@pytest.mark.slow
async def test_all_during_a_prediction_lets_it_finish_and_leaves_out_the_rest(job, tmp_path):
    package = make_inference_package(tmp_path / "p.zip", data=("a.mp4", "b.mp4", "c.mp4"))
    result = await job.stopped(package, StopScope.ALL, first(PredictionStarted))
    assert result == JobResult(Outcome.DONE, "Stopped early: predicted 16 frames in a.mp4; left out: b.mp4 and c.mp4.")


@pytest.mark.slow
async def test_this_during_a_prediction_changes_nothing(job, tmp_path):
    package = make_inference_package(tmp_path / "p.zip", data=("a.mp4", "b.mp4"))
    result = await job.stopped(package, StopScope.THIS, first(PredictionStarted))
    assert result.text == "Predicted 32 frames in 2 files: a.mp4, b.mp4."


@pytest.mark.slow
async def test_all_before_anything_began_leaves_out_everything(job, tmp_path):
    job.switch.request_stop(StopScope.ALL)
    assert await job.run(make_package(tmp_path / "p.zip", TWO, predict=True)) == JobResult(
        Outcome.DONE,
        "Stopped early: nothing was begun; left out: centroid, centered_instance and the prediction.",
    )


@pytest.mark.slow
async def test_a_stop_before_the_first_model_stops_that_model_early(job, tmp_path):
    job.switch.request_stop()
    assert (await job.run(make_package(tmp_path / "p.zip", **SLOW))).text == "Trained 1 model: centroid."


@pytest.mark.slow
async def test_this_and_then_all_is_all(job, tmp_path):
    package = make_package(tmp_path / "p.zip", TWO, **SLOW)
    job.switch.request_stop(StopScope.THIS)
    async with trio.open_nursery() as nursery:

        async def ask_both():
            await job.until(first(Progress))
            job.switch.request_stop(StopScope.ALL)
            job.switch.request_stop(StopScope.THIS)

        nursery.start_soon(ask_both)
        result = await job.run(package)
    assert result.text == "Stopped early: trained 1 of 2 models: centroid; left out: centered_instance."


@pytest.mark.slow
async def test_a_crash_is_reported_and_the_next_model_is_not_begun(job, tmp_path):
    crash = "Traceback\n  File x\nKey 'colour' not in 'TrainerConfig'\n    full_key: trainer_config.colour"
    result = await job.run(make_package(tmp_path / "p.zip", ("centroid", "centered_instance"), crash=crash))
    assert result == JobResult(
        Outcome.FAILED,
        "The model centroid was not trained. sleap-nn ended with status 1: Key 'colour' not in 'TrainerConfig'",
    )
    assert len(job.of(ModelStarted)) == 1


@pytest.mark.slow
async def test_status_0_without_a_model_is_a_failure(job, tmp_path):
    result = await job.run(make_package(tmp_path / "p.zip", no_model=True))
    assert result.outcome is Outcome.FAILED
    assert "without leaving a model" in result.text


@pytest.mark.slow
async def test_a_model_with_a_bad_status_is_a_failure(job, tmp_path):
    result = await job.run(make_package(tmp_path / "p.zip", status=3))
    assert result.outcome is Outcome.FAILED
    assert "status 3" in result.text


@pytest.mark.slow
async def test_a_program_that_cannot_be_started_is_a_failure(job, tmp_path):
    job.sleap_nn = tmp_path / "nothing"
    result = await job.run(make_package(tmp_path / "p.zip"))
    assert result.outcome is Outcome.FAILED
    assert "could not be started" in result.text


@pytest.mark.slow
async def test_a_program_that_does_nothing_is_ended_if_its_owner_wants_that(job, tmp_path, monkeypatch):
    async def nothing_used(_gpus):
        return Usage(1.0, 0)

    monkeypatch.setattr(run_plan, "SilenceWatch", partial(SilenceWatch, read=nothing_used))
    package = make_package(tmp_path / "p.zip", ("centroid", "centered_instance"), startup=3600)
    result = await job.run(package, give_up_after=1.0)
    assert result.outcome is Outcome.FAILED
    assert result.text.startswith("The model centroid was not trained. sleap-nn was ended (--give-up-after)")
    assert [news.model for news in job.of(ModelStarted)] == [0]


@pytest.mark.slow
async def test_a_password_in_the_address_of_a_proxy_is_not_in_the_log(job, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://ada:geh%40eim@proxy:3128")
    monkeypatch.setenv("LAB_KEY", "quite-long")
    package = make_package(tmp_path / "p.zip", say=["via ada:geh%40eim@proxy", "with geh@eim", "and quite-long"])
    assert (await job.run(package, pass_env=("LAB_KEY",))).outcome is Outcome.DONE
    text = (job.folder / "job.log").read_text() + "".join(job.lines())
    assert "and " in text
    assert not [secret for secret in ("geh%40eim", "geh@eim", "quite-long") if secret in text]


@pytest.mark.slow
async def test_an_old_configuration_is_converted_and_trained(job, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("flies/centroid.json", json.dumps(LEGACY))
        archive.writestr("flies/x.pkg.slp", "")
        archive.writestr("flies/train-script.sh", "sleap-train centroid.json x.pkg.slp\n")
    assert (await job.run(tmp_path / "p.zip")).outcome is Outcome.DONE
    assert (job.folder / "flies/models/old.centroid.n=3/best.ckpt").is_file()
    assert job.of(Progress)[-1].epoch == 1


@pytest.mark.slow
@pytest.mark.parametrize("ignore_sigterm", [False, True])
async def test_cancelling_ends_every_process_of_the_job(ignore_sigterm, job, tmp_path, monkeypatch):
    monkeypatch.setattr(process_group, "TERM_TIME", 0.2)
    package = make_package(tmp_path / "p.zip", epochs=5000, seconds=0.1, grandchild=True, ignore_sigterm=ignore_sigterm)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run, package)
        await job.progressed.wait()
        nursery.cancel_scope.cancel()
    await until_gone(int((job.folder / "grandchild.pid").read_text()))
    assert job.lines()[0] == "The job runs on the CPU: this will be slow."
    assert job.lines()[1].startswith("$ sleap-nn train --config centroid.yaml")


@pytest.mark.slow
async def test_what_a_trainer_leaves_running_ends_with_it(job, tmp_path):
    assert (await job.run(make_package(tmp_path / "p.zip", grandchild=True))).outcome is Outcome.DONE
    await until_gone(int((job.folder / "grandchild.pid").read_text()))


@pytest.mark.slow
async def test_a_package_cannot_trip_us_with_names_of_ours(job, tmp_path):
    package = make_package(tmp_path / "p.zip")
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr(".tmp", "")
        archive.writestr("job.log/x", "")
    result = await job.run(package)
    assert result == JobResult(Outcome.FAILED, "The package holds a folder named job.log. Rename it.")


@pytest.mark.slow
async def test_lines_come_in_small_messages_without_controls(job, tmp_path):
    say = ["\x1b[31mred\x1b[0m \u202eflip\a", "10%\r50%\r100%", "", *(f"line {number}" for number in range(60))]
    await job.run(make_package(tmp_path / "p.zip", say=say))
    lines = job.lines()
    assert lines[2:7] == ["red \ufffdflip\ufffd", "10%", "50%", "100%", "line 0"]
    assert "line 59" in lines
    assert all(is_printable(line) and len(line) <= LOG_LINE_MAX for line in lines)
    assert all(0 < len(news.lines) <= LOG_LINES_MAX for news in job.of(LogLines))
    saved = (job.folder / "job.log").read_text()
    assert "\nred \ufffdflip\ufffd\n100%\nline 0\n" in saved, (
        "of a line that overwrites itself, the last version is saved"
    )
    assert all(is_printable(line) for line in saved.splitlines())


async def test_a_runaway_loop_is_cut_short_and_kept_in_the_log(tmp_path, monkeypatch, autojump_clock):
    monkeypatch.setattr(output, "LOG_MAX", 1000)
    emitted = []
    log = JobLog("j", tmp_path / "job.log", lambda news: emitted.extend(news.lines))
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.read_output, receiver)
        await sender.send_all(b"".join(b"line %d\n" % number for number in range(5000)) + b"x" * 200_000)
        await sender.aclose()
    log.close()
    assert len(emitted) < 300
    assert emitted[-1].endswith("more lines are in job.log)")
    assert (tmp_path / "job.log").stat().st_size == 1000


async def test_a_line_does_not_wait_for_the_next(tmp_path, autojump_clock):
    emitted = []
    log = JobLog("j", tmp_path / "job.log", lambda news: emitted.extend(news.lines))
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.read_output, receiver)
        await sender.send_all(b"one\ntwo\nthr")
        await trio.sleep(0.2)
        assert emitted == []
        await trio.sleep(0.1)
        assert emitted == ["one", "two"]
        await sender.send_all(b"ee")
        await sender.aclose()
    log.close()
    assert emitted == ["one", "two", "three"]


def test_a_line_is_cut_and_cleaned():
    assert clean_line(b"a\tb\x00\x1b]0;title\x07c\xff") == "a    b\ufffdc\ufffd"
    assert len(clean_line(b"x" * 10**6)) == LOG_LINE_MAX


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["FileNotFoundError: No such file: '/srv/jobs/7/x.slp'"], "FileNotFoundError: No such file: 'x.slp'"),
        (["RuntimeError: boom", "  warnings.warn(", "done"], "RuntimeError: boom"),
        (["hydra.errors.ConfigCompositionException: Could not override 'a.b'.", "Set HYDRA_FULL_ERROR=1"],
         "hydra.errors.ConfigCompositionException: Could not override 'a.b'."),
        (["Key 'x' not in 'TrainerConfig'", "omegaconf.errors.ConfigKeyError: y"], "Key 'x' not in 'TrainerConfig'"),
        (["No model config found! Use `sleap-nn train --help` for more information.", "Aborted!"],
         "No model config found! Use `sleap-nn train --help` for more information."),
        (["torch.OutOfMemoryError: CUDA out of memory.", "x"], "torch.OutOfMemoryError: CUDA out of memory."),
        (["Error: No such option: --x"], "Error: No such option: --x"),
        (["just words", ""], "just words"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure_is_found(lines, expected):
    assert failure_reason(lines) == expected


@pytest.mark.slow
async def test_the_shim_does_nothing_where_there_is_no_torchvision_and_runs_what_it_hides(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.hidden = True\n")
    environment = {"PYTHONPATH": f"{SHIM}{os.pathsep}{tmp_path}"}
    done = await trio.run_process(
        [sys.executable, "-W", "error", "-c", "import sys; print(sys.hidden, 'torch' in sys.modules)"],
        env=environment,
        capture_stdout=True,
    )
    assert done.stdout.split() == [b"True", b"False"]


def test_the_command_sets_what_the_worker_decides():
    step = TrainStep("a", "a.yaml", "models/r.n=1", ("x=1.slp",), (Override("trainer_config.seed", "3"),))
    assert train_command(Path("/bin/sleap-nn"), step, "a.yaml", Ports(1, 2), "cpu") == [
        "/bin/sleap-nn",
        "train",
        "--config",
        "a.yaml",
        "++trainer_config.seed=3",
        "++trainer_config.trainer_accelerator=cpu",
        "++trainer_config.trainer_devices=1",
        "++trainer_config.trainer_device_indices=null",
        "++trainer_config.trainer_strategy=auto",
        "++trainer_config.zmq.publish_port=1",
        "++trainer_config.zmq.controller_port=2",
        '++trainer_config.ckpt_dir="models"',
        '++trainer_config.run_name="r.n=1"',
        "++trainer_config.save_ckpt=true",
        '++data_config.cache_img_path=".images/r.n=1"',
        "++data_config.use_existing_imgs=false",
        "++data_config.delete_cache_imgs_after_training=true",
        '++data_config.train_labels_path=["x=1.slp"]',
    ]


def test_the_command_for_predicting_is_sleap_nns_own():
    step = PredictStep("v.mp4", "v.mp4", ("m/a", "m/b"), "o.slp", {"frames": "0-9", "tracking": True}, True)
    words = [
        "/bin/sleap-nn",
        "predict",
        "--gui",
        "--data_path",
        "v.mp4",
        "--model_paths",
        "m/a",
        "--model_paths",
        "m/b",
    ]
    options = ["--frames", "0-9", "--tracking"]
    for accelerator, device in (("cpu", ["--device", "cpu"]), ("auto", [])):
        command = predict_command(Path("/bin/sleap-nn"), step, accelerator)
        assert command == [*words, "--output_path", "o.slp", *device, *options]


def test_without_sleap_nn_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RtcError, match=r"pip install '\.\[worker\]'"):
        find_sleap_nn()
    with pytest.raises(RtcError, match="no program"):
        find_sleap_nn(str(tmp_path / "other"))
    installed = install_stand_in(tmp_path)
    assert find_sleap_nn() == installed
    assert find_sleap_nn(str(installed)) == installed


@pytest.mark.parametrize(
    "head",
    ["#!{python}\n", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n", "#!/bin/sh\n'''exec' {python} x\n"],
)
def test_the_python_of_a_sleap_nn_is_found(head, tmp_path):
    python = tmp_path / "venv" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.write_text("")
    script = tmp_path / "sleap-nn"
    script.write_text(head.format(python=python))
    assert python_of(script) == python


@pytest.mark.slow
async def test_a_full_disk_ends_the_log_and_not_the_job(job, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", filling_up(Path.open, "job.log", after=3))
    result = await job.run(make_package(tmp_path / "p.zip", ("centroid", "centered_instance"), say=["before"]))
    assert result.outcome is Outcome.DONE
    assert [line for line in job.lines() if "job.log" in line] == [
        "(job.log ends here: No space left on device; the job goes on)"
    ]
    assert sum("epoch 2 done" in line for line in job.lines()) == 2


async def test_a_log_that_cannot_even_be_closed_ends_quietly(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", filling_up(Path.open, "job.log", after=0))
    emitted = []
    log = JobLog("j", tmp_path / "job.log", lambda news: emitted.extend(news.lines))
    log.close()
    assert emitted == ["(job.log ends here: No space left on device; the job goes on)"]


def filling_up(really_open, name, after):
    """Return an `open` whose file of this name allows `after` writes and flushes, then fails as on a full disk."""

    class Full(io.BufferedWriter):
        left = after

        def spend(self):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        def write(self, data):
            self.spend()
            return super().write(data)

        def flush(self):
            self.spend()
            super().flush()

    def open_it(path, *arguments, **options):
        if path.name != name or arguments != ("ab",):
            return really_open(path, *arguments, **options)
        return Full(really_open(path, "ab", buffering=0))

    return open_it


@pytest.mark.slow
@pytest.mark.parametrize("name", ["_make_private_folder", "JobLog"])
async def test_a_job_whose_own_files_cannot_be_made_fails_and_nothing_else(name, job, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_plan, name, full)
    result = await job.run(make_package(tmp_path / "p.zip"))
    assert result.outcome is Outcome.FAILED
    assert "No space left on device" in result.text
    assert str(tmp_path) not in result.text


async def test_a_log_that_came_with_the_package_is_replaced_and_takes_no_space_of_the_own_one(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "LOG_MAX", 10)
    (tmp_path / "job.log").write_bytes(b"x" * 50)
    log = JobLog("j", tmp_path / "job.log", lambda news: None)
    for _ in range(3):
        log.add_line("more" * 20)
    log.close()
    assert (tmp_path / "job.log").read_text() == "moremoremo"


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀", '"'])
def test_lines_in_any_script_fit_into_a_frame(letter, tmp_path):
    emitted = []
    log = JobLog("j" * 100, tmp_path / "job.log", emitted.append)
    for number in range(60):
        log.add_line(f"{number} {letter * 3000}")
    log.close()
    assert [line.split()[0] for news in emitted for line in news.lines] == [str(number) for number in range(60)]
    events = [JobEvent(news, 1e11 / 3, COUNT_MAX) for news in emitted]
    assert [decode(encode(event), TO_CLIENT) for event in events] == events
    assert all(len(line) == LOG_LINE_MAX for news in emitted for line in news.lines)


def test_the_reason_of_a_failure_holds_no_secret(tmp_path):
    log = JobLog("job", tmp_path / "job.log", lambda _news: None)
    log.hide(["my lab's key"])
    context = StepContext("job", tmp_path, tmp_path, "cpu", {}, log, lambda _news: None, ())
    error = context.step_error("It failed.", 1, "a model", "ValueError: 'my lab's key' is unknown")
    log.close()
    assert error.fault.text == "It failed. sleap-nn ended with status 1: ValueError: '[hidden]' is unknown"
