"""Predictions of a package: every SLEAP version's way of writing them, and notes about those that are left out."""

import zipfile

import pytest
import yaml

from protocol.faults import FaultCode
from protocol.fields import COUNT_MAX
from protocol.jobs import MODELS_MAX, JobEvent, JobKind, JobStarted
from protocol.wire import TO_CLIENT, decode, encode
from rtc.common.errors import RtcError
from rtc.packages.inference import PredictStep
from rtc.packages.inference_script import PredictLine, read_inference_script
from rtc.packages.plan import inspect_package
from rtc.packages.tracking_settings import tracking_options

RUN = "models/run"
CONFIG = {
    "data_config": {"train_labels_path": ["x.pkg.slp"]},
    "model_config": {"head_configs": {"centroid": {}, "bottomup": None}},
    "trainer_config": {"max_epochs": 7, "run_name": "run"},
}
TRAINING = [{"cfg": "a.yaml", "run_path": RUN, "train_labels": "x.pkg.slp"}]
FILES = {"a.yaml": CONFIG, "x.pkg.slp": ""}
MODEL = {"m/run/best.ckpt": "", "m/run/training_config.yaml": "", "v.mp4": ""}


@pytest.fixture
def plan_of(tmp_path):
    """Return the plan of a package with these inference entries."""

    def plan_of(inference, files=MODEL, training=(), overrides=(), script="", root=""):
        content = {"jobs.yaml": {"training": list(training), "inference": inference}, "inference-script.sh": script}
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            for name, text in (content | files).items():
                archive.writestr(root + name, text if isinstance(text, str) else yaml.safe_dump(text))
        return inspect_package(tmp_path / "p.zip", overrides)

    return plan_of


def entry(**changes):
    return {"data_path": "v.mp4", "models": ["m/run"], "output_path": "v.predictions.slp", "type": "video"} | changes


def refusal(plan_of, *arguments, **options):
    with pytest.raises(RtcError) as caught:
        plan_of(*arguments, **options)
    assert caught.value.fault.code is FaultCode.BAD_PACKAGE
    return caught.value.fault.text


def test_an_inference_package_predicts_and_trains_nothing(plan_of):
    plan = plan_of([entry()])
    assert (plan.kind, plan.steps, plan.warnings) == (JobKind.TRACK, (), ())
    assert plan.predictions == (PredictStep("v.mp4", "v.mp4", ("m/run",), "v.predictions.slp"),)


def test_a_training_package_predicts_with_what_it_trained(plan_of):
    inference = [entry(data_path="x.pkg.slp", models=[RUN], type="labels", only_suggested_frames=True)]
    plan = plan_of(inference, FILES, TRAINING)
    assert plan.kind is JobKind.TRAIN
    assert plan.predictions == (
        PredictStep("x.pkg.slp", "x.pkg.slp", (RUN,), "v.predictions.slp", {"only_suggested_frames": True}),
    )


def test_models_are_found_where_their_training_really_puts_them(plan_of):
    files = FILES | {"models/run/best.ckpt": "", "models/run/training_config.yaml": ""}
    plan = plan_of([entry(data_path="x.pkg.slp", models=[RUN])], files, TRAINING)
    assert plan.steps[0].run_path == "models/run-2"
    assert plan.predictions[0].models == ("models/run-2",)


@pytest.mark.parametrize(
    "spelling",
    [
        "m/run", "m/run/", "./m/run", "m\\run", "m/run/best.ckpt", "m/run/training_config.yaml",
        "m\\run\\training_config.yaml", "/home/lab/flies/models/run", "C:\\flies\\models\\run\\training_config.yaml",
        "/home/lab/models/run/training_config.json", "models/run",
    ],
)  # fmt: skip
def test_a_model_may_be_spelled_in_many_ways(spelling, plan_of):
    assert plan_of([entry(models=[spelling])]).predictions[0].models == ("m/run",)
    assert plan_of([entry(models=spelling)], root="wrapped/").predictions[0].models == ("m/run",)


@pytest.mark.parametrize("spelling", ["v.mp4", ".\\v.mp4", "/home/lab/v.mp4", "D:\\videos\\v.mp4"])
def test_data_may_be_spelled_in_many_ways(spelling, plan_of):
    assert plan_of([entry(data_path=spelling)]).predictions[0].data == "v.mp4"


def test_models_of_sleap_1_4_are_models_too(plan_of):
    files = {"m/run/best_model.h5": "", "m/run/training_config.json": "", "v.mp4": ""}
    assert plan_of([entry()], files).predictions[0].models == ("m/run",)


@pytest.mark.parametrize(
    ("inference", "expected"),
    [
        ([], "nothing to predict on"),
        ("all", "names no data"),
        (["v.mp4"], "names no data"),
        ([entry(data_path="gone.mp4")], "'gone.mp4' to predict on is missing"),
        ([entry(data_path="../v.mp4")], "outside itself"),
        ([entry(data_path="https://example.org/v.mp4x")], "'v.mp4x' to predict on is missing"),
        ([entry(data_path="m/run/best.ckpt")], "neither a video nor labels"),
        ([entry(models=[])], "No model is named"),
        ([entry(models=[3])], "not named in a way"),
        ([entry(models=["m/gone"])], "The model 'gone' is missing"),
        ([entry(models=["../run"])], "outside itself"),
        ([entry(models=["/a/../../run"])], "outside itself"),
        ([entry(options={"peak_threshold": 7})], "--peak-threshold"),
        ([entry(options={"runtime": "onnx"})], "'runtime' is no option"),
        ([entry(output_path=f"{n}.slp") for n in range(MODELS_MAX + 1)], "more than 100"),
    ],
)
def test_predictions_that_cannot_be_made_are_refused_or_noted(inference, expected, plan_of):
    assert expected in refusal(plan_of, inference)
    if inference:
        plan = plan_of(inference, FILES | MODEL, TRAINING)
        assert plan.kind is JobKind.TRAIN
        assert expected in plan.warnings[0]


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("sleap-nn predict -i v.mp4 -m m/run -d cuda:1", "device=cuda:1 is left out: the worker chooses its devices."),
        ("sleap-nn track --device=cpu --data_path v.mp4 -m m/run", "device=cpu is left out"),
        ("sleap-track --first-gpu v.mp4 -m m/run", "--first-gpu is left out"),
        ("sleap-track --gpu 1 v.mp4 -m m/run", "gpu=1 is left out"),
        ("sleap-nn predict -i v.mp4 -m m/run --cpu-workers 8", "cpu_workers=8 is left out"),
    ],
)
def test_a_device_for_a_prediction_is_left_out_and_that_is_said(script, note, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name, text in (MODEL | {"inference-script.sh": script}).items():
            archive.writestr(name, text)
    plan = inspect_package(tmp_path / "p.zip")
    assert [(step.data, step.models, step.options) for step in plan.predictions] == [("v.mp4", ("m/run",), {})]
    assert plan.warnings[0].startswith(note)


def test_a_device_among_the_options_of_jobs_yaml_is_left_out_too(plan_of):
    plan = plan_of([entry(options={"device": "cuda:1", "max_instances": 2})])
    assert plan.predictions[0].options == {"max_instances": 2}
    assert plan.warnings == ("device=cuda:1 is left out: the worker chooses its devices.",)


def test_a_model_without_weights_or_configuration_counts_as_missing(plan_of):
    assert "'run' is missing" in refusal(plan_of, [entry()], {"m/run/best.ckpt": "", "v.mp4": ""})


def test_a_training_package_makes_the_predictions_it_can(plan_of):
    inference = [entry(models=["/not/here/old"]), entry(data_path="x.pkg.slp", models=[RUN])]
    plan = plan_of(inference, FILES | MODEL, TRAINING)
    assert [step.data for step in plan.predictions] == ["x.pkg.slp"]
    assert len(plan.warnings) == 1
    assert "'old' is missing" in plan.warnings[0]
    assert "/not/here" not in plan.warnings[0]


@pytest.mark.parametrize(
    ("requested", "output"),
    [
        ("out.slp", "out.slp"), ("out", "out.slp"), ("preds/out.slp", "preds/out.slp"),
        ("preds\\out.slp", "preds/out.slp"),
        ("/abs/out.slp", "out.slp"), ("../../out.slp", "out.slp"), ("models/out.slp", "out.slp"),
        ("MODELS/x/out.slp", "out.slp"), ("v.mp4/out.slp", "out.slp"), ("x.pkg.slp", "x.pkg-2.slp"),
        ("X.PKG.slp", "X.PKG-2.slp"), ("a:b|c.slp", "a_b_c.slp"), (None, "v.mp4.predictions.slp"),
        ("", "v.mp4.predictions.slp"),
    ],
)  # fmt: skip
def test_predictions_do_not_overwrite_files_of_the_package(requested, output, plan_of):
    assert plan_of([entry(output_path=requested)], FILES | MODEL).predictions[0].output == output


def test_two_predictions_are_never_written_to_one_file(plan_of):
    plan = plan_of([entry(), entry(output_path="V.predictions.slp")])
    assert [step.output for step in plan.predictions] == ["v.predictions.slp", "V-2.predictions.slp"]


def test_tracking_alone_needs_labels_and_no_model(plan_of):
    files = {"x.slp": "", "v.mp4": ""}
    plan = plan_of([entry(data_path="x.slp", models=[], options={"tracking": True})], files)
    assert plan.predictions[0] == PredictStep("x.slp", "x.slp", (), "v.predictions.slp", {"tracking": True}, True)
    assert "No model" in refusal(plan_of, [entry(models=[], options={"tracking": True})], files)


def test_options_that_need_labels_are_left_out_for_a_video(plan_of):
    step = plan_of([entry(options={"only_labeled_frames": True, "video_index": 0, "frames": "0-3"})]).predictions[0]
    assert step.options == {"frames": "0-3"}


def test_a_projects_package_stands_in_for_the_project_but_not_for_its_video(plan_of):
    labels = entry(data_path="x.slp", models=[RUN], type="labels")
    assert plan_of([labels], FILES, TRAINING).predictions[0].data == "x.pkg.slp"
    plan = plan_of([labels | {"type": "video"}], FILES, TRAINING)
    assert plan.predictions == ()
    assert "'x.slp' to predict on is missing" in plan.warnings[0]


def test_what_jobs_yaml_loses_is_taken_from_the_script(plan_of):
    script = (
        "#!/bin/bash\nsleap predict --gui --data_path /home/lab/my flies/x.slp --only_suggested_frames --model_paths m "
        "-o out.slp --exclude_user_labeled --peak_threshold 0.4 --frames 0,-9 --device cuda --strange 1\n"
    )
    inference = [entry(data_path="x.pkg.slp", models=[RUN], options={"peak_threshold": 0.5})]
    (step,) = plan_of(inference, FILES, TRAINING, script=script).predictions
    assert step.options == {
        "frames": "0-9", "only_suggested_frames": True, "exclude_user_labeled": True, "peak_threshold": 0.5,
    }  # fmt: skip


def test_a_script_that_is_not_understood_is_noted_and_no_obstacle(plan_of):
    inference = [entry(data_path="x.pkg.slp", models=[RUN])]
    plan = plan_of(inference, FILES, TRAINING, script="sleap predict --batch_size -i x 'oh\n")
    assert plan.predictions[0].options == {}
    assert plan.warnings == ("inference-script.sh sets batch_size in a way that is not understood; it is left out.",)


def test_scripts_alone_will_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in MODEL:
            archive.writestr(name, "")
        archive.writestr("inference-script.sh", "sleap-nn track -i v.mp4 -m m/run -o out.slp -t --max_tracks 2\n")
    assert inspect_package(tmp_path / "p.zip").predictions == (
        PredictStep("v.mp4", "v.mp4", ("m/run",), "out.slp", {"tracking": True, "max_tracks": 2}, True),
    )


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (
            "sleap-track x.pkg.slp --only-suggested-frames -m models/a -m models/b --max_instances 2 "
            "--tracking.tracker flowmaxtracks --tracking.max_tracks 2 --tracking.robust 0.95 --tracking.x None "
            "-o out.slp --verbosity json --no-empty-frames",
            PredictLine(
                "x.pkg.slp", ("models/a", "models/b"), "out.slp",
                {"only_suggested_frames": "true", "max_instances": "2", "no_empty_frames": "true"},
                {"tracking.tracker": "flowmaxtracks", "tracking.max_tracks": 2, "tracking.robust": 0.95,
                 "tracking.x": None},
            ),
        ),
        ("sleap-nn-track --data_path v.mp4 --model_paths m -o o.slp -b 4",
         PredictLine("v.mp4", ("m",), "o.slp", {"batch_size": "4"})),
        ("python -m sleap.cli predict --gui -i v.mp4 --frames=0,-9", PredictLine("v.mp4", options={"frames": "0,-9"})),
        ("CUDA_VISIBLE_DEVICES=0 uv run sleap-nn predict -i v.mp4 -n 2",
         PredictLine("v.mp4", options={"max_instances": "2"})),
        ("C:\\env\\Scripts\\sleap-track.exe v.mp4 --video.index 1", PredictLine("v.mp4", options={"video_index": "1"})),
        ("sleap predict -i v.mp4 --no-ensure_rgb --frames 0,-49",
         PredictLine("v.mp4", options={"ensure_rgb": "false", "frames": "0,-49"})),
    ],
)  # fmt: skip
def test_the_lines_of_every_sleap_are_read(line, read):
    text = line if "\\" not in line else f"'{line.split()[0]}' {' '.join(line.split()[1:])}"
    assert read_inference_script(f"#!/bin/bash\n{text}\n") == (read,)


def test_other_lines_are_ignored():
    assert read_inference_script(
        "#!/bin/bash\n# sleap track x\nrm -rf /\nsleap train a\n\necho sleap track\nsleap-track"
    ) == (PredictLine(),)


SIMPLE = {
    "tracking.tracker": "simple", "tracking.match": "hungarian", "tracking.similarity": "centroid",
    "tracking.track_window": 5, "tracking.max_tracks": None, "tracking.max_tracks_disabled": True,
    "tracking.post_connect_single_breaks": 0, "tracking.robust": 1.0, "tracking.robust_disabled": True,
    "tracking.match.flow": "greedy", "tracking.track_window.flow": 9,
}  # fmt: skip


def test_sleaps_tracking_settings_mean_what_sleap_makes_of_them():
    assert tracking_options(SIMPLE) == (
        {
            "track_matching_method": "hungarian", "tracking_window_size": 5, "post_connect_single_breaks": 0,
            "tracking": True, "use_flow": False, "features": "centroids", "scoring_method": "euclidean_dist",
            "scoring_reduction": "max",
        },
        (),
    )  # fmt: skip
    options, strange = tracking_options(
        SIMPLE
        | {"tracking.tracker": "flow", "tracking.max_tracks": 2, "tracking.max_tracks_disabled": False}
        | {"tracking.robust": 0.9, "tracking.robust_disabled": False, "tracking.similarity": "oks"}
        | {"tracking.post_connect_single_breaks": 1}
    )
    assert strange == ()
    assert options == {
        "track_matching_method": "hungarian", "tracking_window_size": 5, "max_tracks": 2,
        "post_connect_single_breaks": 1, "tracking_target_instance_count": 2, "tracking": True, "use_flow": True,
        "scoring_reduction": "robust_quantile", "robust_best_instance": 0.9, "candidates_method": "local_queues",
    }  # fmt: skip


def test_old_tracking_settings_are_mapped_and_the_rest_is_named():
    options, strange = tracking_options(
        {"tracker": "simplemaxtracks", "max_tracks": 3, "kf_init_frame_count": 10, "kf_node_indices": "0,1"}
        | {
            "similarity": "object keypoint",
            "oks_errors": "0.1",
            "save_shifted_instances": 0,
            "pre_cull_to_target": True,
        }
    )
    assert strange == ("oks_errors",)
    assert (options["use_kalman"], options["kf_init_frame_count"], options["kf_node_indices"]) == (True, 10, "0,1")
    assert options["tracking_pre_cull_to_target"] == 1
    assert tracking_options({"tracking.tracker": "none", "tracking.match": "greedy"}) == ({}, ())
    assert tracking_options({"tracking.tracker": "magic"}) == ({}, ("tracker magic",))
    assert tracking_options({}) == ({}, ())


def test_tracking_settings_reach_the_plan_with_a_note_for_the_rest(plan_of):
    plan = plan_of([entry(tracking=SIMPLE | {"tracking.oks_errors": "0.1"})])
    (step,) = plan.predictions
    assert step.tracking
    assert step.options["scoring_method"] == "euclidean_dist"
    assert "oks_errors" in plan.warnings[0]


def test_overrides_are_for_every_model(plan_of):
    training = [TRAINING[0] | {"overrides": ["trainer_config.seed=1", "trainer_config.max_epochs=9"]}]
    plan = plan_of([], FILES, training, overrides=("trainer_config.max_epochs=5", "trainer_config.a=b c"))
    (step,) = plan.steps
    assert [str(override) for override in step.overrides] == [
        "++trainer_config.seed=1", "++trainer_config.max_epochs=5", '++trainer_config.a="b c"',
    ]  # fmt: skip
    assert (step.epochs, step.head) == (5, "centroid")


def test_labels_may_be_overridden_when_they_are_there(plan_of):
    files = FILES | {"y.slp": ""}
    plan = plan_of([], files, TRAINING, overrides=("data_config.train_labels_path=[y.slp]",))
    assert (plan.steps[0].labels, plan.steps[0].overrides) == (("y.slp",), ())
    for word in ("data_config.train_labels_path=[z.slp]", "data_config.val_labels_path=z.slp"):
        assert "'z.slp'" in refusal(plan_of, [], files, TRAINING, (word,))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("max_epochs=5", "trainer_config.max_epochs=5"),
        ("trainer_config.max_epochs", "is not understood"),
        ("trainer_config.x=${oc.env:TOKEN}", "worker's environment"),
        ("trainer_config.x=/etc/passwd", "outside the package"),
        ("hydra.run.dir=/secret", "is not understood"),
    ],
)
def test_a_wrong_override_on_the_command_line_is_a_usage_error(word, expected, plan_of):
    with pytest.raises(RtcError) as caught:
        plan_of([], FILES, TRAINING, overrides=(word,))
    assert caught.value.fault.code is FaultCode.USAGE
    assert expected in caught.value.fault.text
    assert not any(hidden in caught.value.fault.text for hidden in ("script", "TOKEN", "passwd", "secret"))


def test_a_package_that_trains_nothing_has_nothing_to_override(plan_of):
    with pytest.raises(RtcError, match="nothing to override"):
        plan_of([entry()], overrides=("trainer_config.seed=1",))


def test_strange_lists_of_overrides_are_refused(plan_of):
    for words in ("trainer_config.seed=1", [3], ["trainer_config.seed=1"] * 200, ["nonsense"]):
        refusal(plan_of, [], FILES, [TRAINING[0] | {"overrides": words}])


def test_the_longest_names_fit_into_one_message():
    names = ("\U00020000" * 25,) * MODELS_MAX
    started = JobEvent(JobStarted("j" * 100, names, names), 1e11 / 3, COUNT_MAX)
    assert decode(encode(started), TO_CLIENT) == started
