"""A job whose package leaves the configurations to sleap-nn has them written, checks them, and trains with them."""

import pytest
import trio
from job_run import JobRun

from protocol.jobs import ConfigurationStarted, JobNote, JobStarted, ModelStarted, Outcome, StopScope
from rtc.common.job_result import JobResult
from rtc.packages.safe_yaml import safe_yaml
from rtc.runner.write_configs import TOO_OLD
from rtc.testing.limits import HANG_TIME
from rtc.testing.sleap_nn_stand_in import RECOMMENDED
from rtc.testing.stand_in import install_stand_in, make_labels_package

pytestmark = pytest.mark.slow


class Job(JobRun):
    """A job that also notes the plan that was reported."""

    def __init__(self, folder, sleap_nn):
        super().__init__(folder, sleap_nn)
        self.configuring = trio.Event()
        self.plan = None

    def emit(self, news):
        super().emit(news)
        if isinstance(news, ConfigurationStarted):
            self.configuring.set()

    def note_plan(self, plan):
        self.plan = plan

    async def run(self, package, overrides=()):
        return await super().run(package, overrides=overrides, planned=self.note_plan)


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job", install_stand_in(tmp_path / "bin"))


async def test_the_models_are_known_after_sleap_nn_has_written_their_configurations(job, tmp_path):
    package = make_labels_package(tmp_path / "p.zip", recommend="topdown")
    result = await job.run(package, ["trainer_config.max_epochs=2"])
    assert result == JobResult(Outcome.DONE, "Trained 2 models: centroid, centered_instance.")
    assert job.of(ConfigurationStarted, JobNote, JobStarted)[:3] == [
        ConfigurationStarted("j"),
        JobNote(
            "j",
            f"sleap-nn looked at the labels and chose centroid, then centered_instance. Its reason: {RECOMMENDED}.",
        ),
        JobStarted("j", ("centroid", "centered_instance")),
    ]
    assert job.of(ModelStarted) == [ModelStarted("j", 0, 2), ModelStarted("j", 1, 2)]
    assert job.plan.written == ("centroid.yaml", "centered_instance.yaml")
    assert [step.run_path for step in job.plan.steps] == [
        "models/260101_120000.centroid.n=12",
        "models/260101_120000.centered_instance.n=12",
    ]
    home = safe_yaml("it", (job.folder / "centroid.yaml").read_text())
    assert home["data_config"]["train_labels_path"] == ["project/toy.slp"]
    assert home["trainer_config"]["max_epochs"] == 200


async def test_the_persons_pipeline_is_passed_on_and_what_the_package_holds_is_kept(job, tmp_path):
    package = make_labels_package(tmp_path / "p.zip", pipeline="bottomup", train=False)
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "bottomup.yaml").write_text("of the package")
    result = await job.run(package)
    assert result == JobResult(Outcome.DONE, "Written by sleap-nn: bottomup-2.yaml.")
    assert (job.folder / "bottomup.yaml").read_text() == "of the package"
    assert "as you asked with --pipeline bottomup" in job.of(JobNote)[0].text
    assert job.of(JobStarted) == []
    assert job.plan.written == ("bottomup-2.yaml",)


@pytest.mark.parametrize(
    ("pipeline", "knobs", "expected"),
    [
        (None, {"no_config": True}, TOO_OLD),
        (
            None,
            {"config_crash": "ValueError: no instances"},
            "The configuration was not written. sleap-nn ended with status 1: ValueError: no instances",
        ),
        (
            "newer",
            {},
            "The configuration was not written. sleap-nn ended with status 2: Invalid value for '--pipeline': 'newer'",
        ),
    ],
)
async def test_a_configuration_that_cannot_be_written_fails_the_job_in_one_sentence(
    job, tmp_path, pipeline, knobs, expected
):
    result = await job.run(make_labels_package(tmp_path / "p.zip", pipeline=pipeline, **knobs))
    assert result == JobResult(Outcome.FAILED, expected)


async def test_a_stop_of_all_during_this_step_begins_no_model(job, tmp_path):
    job.switch.request_stop(StopScope.ALL)
    result = await job.run(make_labels_package(tmp_path / "p.zip"))
    assert result == JobResult(Outcome.DONE, "Stopped early: nothing was begun; left out: single_instance.")
    assert (job.folder / "single_instance.yaml").is_file()


async def test_a_cancelled_job_ends_sleap_nn_in_this_step_too(job, tmp_path):
    package = make_labels_package(tmp_path / "p.zip", configuring=3600)
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.run, package)
            await job.configuring.wait()
            nursery.cancel_scope.cancel()
    assert job.of(JobStarted) == []
