"""Every reader of packages and results takes any bytes: it reads them, or raises an RtcError, and nothing else."""

import json
import zipfile
from contextlib import suppress

import pytest
import trio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.faults import FaultCode
from rtc.client import tickets
from rtc.client.report import write_report
from rtc.client.unpack_results import final_losses, unpack_results
from rtc.common.errors import RtcError
from rtc.packages import sources
from rtc.packages.checked_config import prepare_configs, rewrite_config
from rtc.packages.inference_script import read_inference_script
from rtc.packages.plan import inspect_package, read_plan
from rtc.packages.train_script import read_train_script
from rtc.packages.zip_reader import unpack
from rtc.testing.stand_in import make_package

CONFIG = yaml.safe_dump(
    {
        "data_config": {"train_labels_path": ["x.slp"], "val_labels_path": None, "skeletons": [{"nodes": ["a", "b"]}]},
        "model_config": {
            "head_configs": {"centroid": {"confmaps": {"sigma": 2.5}}},
            "pretrained_backbone_weights": "w.ckpt",
        },
        "trainer_config": {"max_epochs": 7, "run_name": "run", "wandb": {"api_key": "a-secret-key"}},
    }
)
LEGACY = json.dumps(
    {
        "data": {"labels": {"training_labels": "x.slp", "validation_labels": None}},
        "model": {"backbone": {"unet": {"filters": 8}}, "heads": {"centroid": {"sigma": 2.5}}},
        "optimization": {"epochs": 9},
        "outputs": {"run_name": "old.centroid.n=3"},
    }
)
ENTRY = {
    "data_path": "v.mp4",
    "models": ["m/r"],
    "output_path": "o.slp",
    "type": "video",
    "tracking": {"tracker": "flow"},
}
JOBS = yaml.safe_dump(
    {
        "training": [
            {"cfg": "a.yaml", "run_path": "models/run", "overrides": ["trainer_config.seed=3"]},
            {"cfg": "b.json"},
        ],
        "inference": [ENTRY | {"options": {"frames": "0-9", "max_instances": 2}}],
    }
)
TRAIN = "sleap train --config-name a.yaml --config-dir . 'trainer_config.run_name=\"r.n=1\"'\n"
PREDICT = "sleap-track v.mp4 -m m/r -o o.slp --frames 0,-9 --tracking.tracker flow --max_instances 2\n"
TEXTS = {
    "jobs.yaml": JOBS,
    "a.yaml": CONFIG,
    "b.json": LEGACY,
    "train-script.sh": TRAIN,
    "inference-script.sh": PREDICT,
    "m/r/training_config.yaml": CONFIG,
}
OTHERS = {"x.slp": "", "w.ckpt": "", "v.mp4": "", "m/r/best.ckpt": ""}
LOG = "epoch,train/loss,val/loss,learning_rate\n0,,0.045,0.001\n1,0.048,0.040,0.001\n"
METRICS = json.dumps({"mOKS": {"mOKS": 0.5}, "distance_metrics": {"avg": 1.5, "p50": None}})
RESULT = {
    "models/r/training_log.csv": LOG,
    "models/r/metrics.val.0.json": METRICS,
    "models/r/best.ckpt": "x",
    "job.log": "",
}

BITS = (
    *(
        '"',
        "'",
        "\\",
        "\n",
        "\t",
        "\0",
        "\ufeff",
        "\ud7ff",
        "\U0010ffff",
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        "-",
        "#",
        "&a ",
        "*a",
    ),
    *(
        "!!int ",
        "!x ",
        "<<: ",
        "? ",
        "| ",
        "> ",
        "%",
        "@",
        "`",
        "~",
        "null",
        "9" * 400,
        "0x",
        "1e999",
        ".nan",
        "1:30",
        "../",
    ),
    *(
        "/",
        "//",
        "C:",
        "${",
        "\\x24{",
        "\\ud800",
        "\\u0000",
        "=",
        "++",
        " ",
        "&&",
        ";",
        "$(",
        "--",
        "[[[[",
        "yes",
        "-1",
        "é",
    ),
)
fewer = settings(max_examples=settings.default.max_examples // 3)
"""Each example of these tests writes files."""
pieces = st.sampled_from(BITS) | st.binary(max_size=3) | st.text(max_size=4)
changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), pieces), min_size=1, max_size=5)


def changed(text, edits):
    """Return a text as bytes, in which some characters at relative places are replaced by other pieces."""
    data = text.encode()
    for place, length, piece in edits:
        at = int(place * len(data))
        data = data[:at] + (piece if isinstance(piece, bytes) else piece.encode(errors="replace")) + data[at + length :]
    return data


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def run_on_worker(package, folder):
    """Do with a package what a supervisor does before it starts sleap-nn, and what a client does before it sends it."""
    with suppress(RtcError):
        inspect_package(package)
    with suppress(RtcError):
        trio.run(unpack, package, folder)
        plan = read_plan(folder)
        prepare_configs(folder / plan.root, plan)
        for step in plan.steps:
            rewrite_config(folder / plan.root, step.config, step)


def test_the_unchanged_package_is_read_whole(tmp_path):
    package = write_zip(tmp_path / "p.zip", TEXTS | OTHERS)
    plan = inspect_package(package)
    assert (len(plan.steps), len(plan.predictions)) == (2, 1)
    run_on_worker(package, tmp_path / "job")
    assert yaml.safe_load((tmp_path / "job/a.yaml").read_text())["trainer_config"]["wandb"]["api_key"] is None


@fewer
@given(st.sampled_from(sorted(TEXTS)), changes, st.booleans())
def test_any_text_in_a_package_is_read_or_refused(tmp_path_factory, name, edits, without_jobs):
    folder = tmp_path_factory.mktemp("p")
    files = {key: text for key, text in TEXTS.items() if not (without_jobs and key == "jobs.yaml")}
    run_on_worker(write_zip(folder / "p.zip", files | {name: changed(TEXTS[name], edits)} | OTHERS), folder / "job")


@fewer
@given(changes)
def test_any_bytes_of_a_result_are_unpacked_or_refused(tmp_path_factory, edits):
    folder = tmp_path_factory.mktemp("r")
    plain = write_zip(folder / "plain.zip", RESULT).read_bytes().decode("latin-1")
    (folder / "r.zip").write_bytes(changed(plain, edits).decode(errors="replace").encode("latin-1", errors="replace"))
    with suppress(RtcError):
        trio.run(unpack_results, folder / "r.zip", folder / "out")


@fewer
@given(st.sampled_from(["models/r/training_log.csv", "models/r/metrics.val.0.json"]), changes)
def test_any_log_and_metrics_of_a_result_make_a_page(tmp_path_factory, name, edits):
    folder = tmp_path_factory.mktemp("r")
    trio.run(unpack_results, write_zip(folder / "r.zip", RESULT | {name: changed(RESULT[name], edits)}), folder / "out")
    assert write_report(folder / "out", "title") is not None
    assert len(final_losses(folder / "out")) == 1


@given(st.text() | st.lists(st.sampled_from((*BITS, *TRAIN.split(), *PREDICT.split()))).map(" ".join))
def test_any_script_is_read_or_refused(text):
    for read in (read_train_script, read_inference_script):
        with suppress(RtcError):
            read(text)


@fewer
@given(changes)
def test_any_ticket_is_read_or_refused(tmp_path_factory, edits):
    folder = tmp_path_factory.mktemp("t")
    text = json.dumps({"job": "j", "key": "k", "worker": "w", "room": "r", "token": "t", "server": "s", "package": "p"})
    (folder / "j.json").write_bytes(changed(text, edits))
    with suppress(RtcError):
        tickets.read(folder, "j")


@pytest.mark.parametrize(
    "script",
    [
        "uv run " * 9_000 + "sleap-nn train a.yaml",
        "A=1 " * 16_000 + "sleap-nn train a.yaml",
        "sleap-nn train a.yaml " + "trainer_config.seed=3 " * 2_900,
        "sleap-nn train a.yaml 'trainer_config.run_name=" + "\\" * 65_000 + "'",
        "sleap-nn train a.yaml 'trainer_config.run_name=" + "\\" * 500_000 + "'",
        "sleap-train " + "--zmq " * 10_000 + "a.json",
        "sleap-track " + "v.mp4 " * 10_000,
        "python " * 9_000 + "sleap-track v.mp4",
        "sleap-track v.mp4 " + "--frames 1 " * 5_000,
        "echo\n" * 1_900,
    ],
)
def test_a_script_of_many_words_takes_as_long_as_it_is(script):
    for read in (read_train_script, read_inference_script):
        with suppress(RtcError):
            read(script)


def test_many_names_take_as_long_as_they_are(tmp_path):
    images = {f"models/r/{number}": "" for number in range(4_000)}
    models = [f"m/r{number}" for number in range(90)]
    entries = [{"data_path": "v.mp4", "models": models, "output_path": "a/" * 200_000 + "o.slp"}]
    entries += [{"data_path": "v.mp4", "models": models, "output_path": "o.slp"}] * 99
    files = {f"{model}/{name}": "" for model in models for name in ("best.ckpt", "training_config.yaml")}
    training = [{"cfg": "a.yaml", "run_path": "models/r"}] * 100
    jobs = json.dumps({"training": training, "inference": entries})
    package = write_zip(tmp_path / "p.zip", TEXTS | OTHERS | files | images | {"jobs.yaml": jobs})
    plan = inspect_package(package)
    assert len({step.run_path for step in plan.steps}) == 100
    assert len({step.output for step in plan.predictions}) == 100


def test_names_of_many_folders_do_not_fill_the_memory(tmp_path):
    deep = {f"{number}/" + "a/" * 400 + "x": "" for number in range(3)}
    with pytest.raises(RtcError) as caught:
        inspect_package(write_zip(tmp_path / "p.zip", TEXTS | OTHERS | deep))
    assert caught.value.fault.code is FaultCode.BAD_PACKAGE


def test_the_texts_of_a_package_are_bounded_together(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "TEXTS_MAX", 5000)
    configs = {f"c{number}.yaml": CONFIG + "#" * 900 for number in range(5)}
    jobs = yaml.safe_dump({"training": [{"cfg": name} for name in configs]})
    package = write_zip(tmp_path / "p.zip", OTHERS | configs | {"jobs.yaml": jobs})
    with pytest.raises(RtcError, match="too large together"):
        inspect_package(package)


def test_a_package_of_the_stand_in_is_prepared_like_any_other(tmp_path):
    run_on_worker(make_package(tmp_path / "p.zip"), tmp_path / "job")
    assert read_plan(tmp_path / "job").steps
