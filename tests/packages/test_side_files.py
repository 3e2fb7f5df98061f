"""A file beside what a package needs never refuses the whole, and neither does how its names and texts are written."""

import json
import struct
import unicodedata
import zipfile
import zlib

import pytest
import trio
import yaml

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.checked_config import prepare_configs, rewrite_config
from rtc.packages.member_names import is_ignored
from rtc.packages.plan import inspect_package, read_plan
from rtc.packages.text_encoding import decode_text
from rtc.packages.zip_reader import members, open_zip, unpack

CONFIG = {
    "data_config": {"train_labels_path": ["x.pkg.slp"]},
    "model_config": {"head_configs": {"centroid": {}}},
    "trainer_config": {"run_name": "run"},
}
JOBS = {"training": [{"cfg": "a.yaml", "run_path": "models/run", "train_labels": "x.pkg.slp"}]}
FILES = {"jobs.yaml": JOBS, "a.yaml": CONFIG, "x.pkg.slp": ""}
INFERENCE = {"inference": [{"data_path": "v.mp4", "models": ["m/run"], "type": "video"}]}
MODEL = {"jobs.yaml": INFERENCE, "m/run/best.ckpt": "", "m/run/training_config.yaml": "", "v.mp4": ""}
SCRIPT = (
    "#!/bin/bash\r\nsleap predict --gui --data_path C:\\Users\\{}\\flies.slp --frames 0,-9 --model_paths models/run\r\n"
)


class RawInfo(zipfile.ZipInfo):
    """A member whose name is written as these bytes, as other programs do."""

    def __init__(self, raw, flag=0):
        super().__init__(raw.decode("latin-1"))
        self.raw, self.flag = raw, flag

    def _encodeFilenameFlags(self):  # noqa: N802 - the name in zipfile
        return self.raw, self.flag


@pytest.fixture
def write(tmp_path):
    """Write a zip of texts and bytes by their names (dicts become YAML); a name of bytes is written as it is."""

    def write(files, comment=b"", prefix=b""):
        path = tmp_path / "package.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                text = yaml.safe_dump(content) if isinstance(content, dict) else content
                archive.writestr(RawInfo(name) if isinstance(name, bytes) else name, text)
            archive.comment = comment
        path.write_bytes(prefix + path.read_bytes())
        return path

    return write


@pytest.mark.parametrize("script", [b"\0" * 500, bytes(range(256)) * 4, b"# x\n" * 300_000, b""])
def test_a_script_for_predictions_that_is_damaged_is_left_out(write, tmp_path, script):
    """As after a full disk or a copy that broke off; jobs.yaml says what is needed of it."""
    plan = read_twice(write(FILES | {"inference-script.sh": script}), tmp_path)
    assert ([step.config for step in plan.steps], plan.warnings) == (["a.yaml"], ())
    plan = inspect_package(write(MODEL | {"inference-script.sh": script}))
    assert [step.data for step in plan.predictions] == ["v.mp4"]
    assert [text.endswith("It is left out, with the options in it.") for text in plan.warnings] == [True] * bool(script)


def read_twice(package, tmp_path):
    """Return the plan that a client reads, after a check that a worker reads the same."""
    trio.run(lambda: unpack(package, tmp_path / "job", portable=False))
    plan = inspect_package(package)
    assert read_plan(tmp_path / "job") == plan
    prepare_configs(tmp_path / "job" / plan.root, plan)
    for step in plan.steps:
        rewrite_config(tmp_path / "job" / plan.root, step.config, step)
    return plan


# -------- texts


@pytest.mark.parametrize(
    ("person", "encoding"),
    [
        ("José", "cp1252"), ("实验室", "gb18030"), ("山田表", "cp932"), ("Иван", "cp1251"), ("張三", "cp950"),
        ("Ünal", "cp1254"),
        ("José", "utf-8-sig"), ("José", "utf-16"), ("José", "utf-16-le"), ("José", "utf-16-be"), ("José", "utf-32"),
    ],
)  # fmt: skip
def test_a_script_in_any_code_page_says_what_it_says(person, encoding, write, tmp_path):
    inference = [{"data_path": "x.pkg.slp", "models": ["models/run"], "type": "labels"}]
    files = FILES | {"jobs.yaml": JOBS | {"inference": inference}}
    package = write(
        files | {"inference-script.sh": SCRIPT.format(person).encode(encoding), "train-script.sh": b"\xe9\xff\x81"}
    )
    (prediction,) = read_twice(package, tmp_path).predictions
    assert prediction.options == {"frames": "0-9"}


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("données", "cp1252"), ("实验", "gb18030"), ("表ソ", "cp932"), ("мухи", "cp1251"), ("μύγα", "cp1253"),
        ("파리", "cp949"), ("données", "utf-16"), ("muchy ąę", "cp1250"),
    ],
)  # fmt: skip
def test_a_script_alone_names_files_of_the_package_in_any_code_page(name, encoding, write, tmp_path):
    labels = f"{name}.pkg.slp"
    change = f"'data_config.train_labels_path=[{labels}]'"
    script = f'cd "$(dirname "$0")"\r\nsleap train --config-name a.yaml --config-dir . {change}\r\n'
    package = write({"a.yaml": CONFIG, labels: "", "train-script.sh": script.encode(encoding)})
    assert read_twice(package, tmp_path).steps[0].labels == (labels,)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig", "utf-16-le"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_jobs_yaml_and_configurations_are_read_in_any_encoding(encoding, newline, write, tmp_path):
    jobs = "training:\n- {cfg: a.yaml, run_path: 'C:\\Users\\José\\models\\run', train_labels: données.pkg.slp}\n"
    config = "data_config: {train_labels_path: ['C:\\Users\\José\\données.slp'], test_file_path: données.pkg.slp}\n"
    config += "model_config: {head_configs: {centroid: {}}}\n"
    texts = {"jobs.yaml": jobs, "a.yaml": config}
    encoded = {name: text.replace("\n", newline).encode(encoding) for name, text in texts.items()}
    (step,) = read_twice(write(encoded | {"données.pkg.slp": ""}), tmp_path).steps
    assert (step.labels, step.run_path) == (("données.pkg.slp",), "models/run")
    written = yaml.safe_load((tmp_path / "job/a.yaml").read_text())["data_config"]
    assert written == {"train_labels_path": ["données.pkg.slp"], "test_file_path": "données.pkg.slp"}


def test_a_lone_wrong_byte_changes_nothing_else():
    assert decode_text("x", "naïve données".encode() + b"\xff.slp") == "naïve données\ufffd.slp"
    assert decode_text("x", b"caf\xe9 \x81") == "café \ufffd"


def test_what_is_no_text_is_refused():
    for data in (b"\x89HDF\r\n\x1a\n\0\0\0", b"caf\xe9 \0"):
        with pytest.raises(RtcError, match="not plain text"):
            decode_text("jobs.yaml", data)


def test_a_backslash_in_a_japanese_character_ends_no_word(write, tmp_path):
    places = 'trainer_config.ckpt_dir="C:\\Users\\表\\models" trainer_config.run_name="表"'
    script = f"sleap train --config-name a.yaml --config-dir . {places} trainer_config.seed=3\r\n"
    package = write({"a.yaml": CONFIG, "x.pkg.slp": "", "train-script.sh": script.encode("cp932")})
    (step,) = read_twice(package, tmp_path).steps
    assert [str(item) for item in step.overrides] == ["++trainer_config.seed=3"]


# -------- names in the zip


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("données", "données".encode()), ("données", unicodedata.normalize("NFD", "données").encode()),
        ("ñandú", "ñandú".encode("cp850")), ("données", "données".encode("cp437")),
        ("Ãrvore", "Ãrvore".encode("cp850")), ("ハエ表", "ハエ表".encode("cp932")),
        ("苍蝇", "苍蝇".encode("gb18030")), ("мухи", "мухи".encode("cp866")), ("données", "données".encode("cp1252")),
    ],
)  # fmt: skip
def test_names_without_the_flag_of_utf_8_are_those_that_jobs_yaml_names(name, raw, write, tmp_path):
    jobs = {"training": [{"cfg": "a.yaml", "train_labels": f"{name}.pkg.slp"}]}
    (step,) = read_twice(write({"jobs.yaml": jobs, "a.yaml": CONFIG, raw + b".pkg.slp": ""}), tmp_path).steps
    assert unicodedata.normalize("NFC", step.labels[0]) == f"{name}.pkg.slp"


def test_the_extra_field_with_the_name_in_unicode_counts_if_it_is_of_this_name(tmp_path):
    for checksum, expected in ((zlib.crc32(b"donn?\x82es.slp"), "données.slp"), (1, "donn?ées.slp")):
        info = RawInfo(b"donn?\x82es.slp")
        field = struct.pack("<BL", 1, checksum) + "données.slp".encode()
        info.extra = struct.pack("<HH", 0x7075, len(field)) + field
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            archive.writestr(info, "x")
        with open_zip(tmp_path / "p.zip") as archive:
            assert [member.name for member in members(archive)] == [expected]


def test_an_extra_field_leads_out_of_no_folder(tmp_path):
    info = RawInfo(b"\x82")
    field = struct.pack("<BL", 1, zlib.crc32(b"\x82")) + b"../evil"
    info.extra = struct.pack("<HH", 0x7075, len(field)) + field
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr(info, "x")
    with pytest.raises(RtcError, match="lead out"):
        trio.run(unpack, tmp_path / "p.zip", tmp_path / "out")


def test_backslashes_lead_into_folders(write, tmp_path):
    files = {b"flies\\": "", **{f"flies\\{name}".encode(): content for name, content in FILES.items()}}
    plan = read_twice(write(files | {b"flies\\models\\old\\best.ckpt": ""}), tmp_path)
    assert (plan.root, plan.steps[0].labels) == ("flies/", ())
    assert (tmp_path / "job/flies/models/old/best.ckpt").is_file()


def test_names_as_the_tar_of_windows_writes_them_are_read(write, tmp_path):
    assert read_twice(write({"./": "", **{f"./{name}": content for name, content in FILES.items()}}), tmp_path).steps
    assert (tmp_path / "job/a.yaml").is_file()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_found_in_another_case_or_unicode_form(form, write, tmp_path):
    other = "NFD" if form == "NFC" else "NFC"
    labels, weights, video = (unicodedata.normalize(form, name) for name in ("Été.pkg.slp", "w/Été.ckpt", "Été.mp4"))
    model = unicodedata.normalize(form, "m/Été")
    config = CONFIG | {"model_config": CONFIG["model_config"] | {"pretrained_head_weights": "W\\ÉTÉ.ckpt"}}
    jobs = {
        "training": [{"cfg": "A.YAML", "run_path": "models/Neu", "train_labels": "été.PKG.slp"}],
        "inference": [{"data_path": "ÉTÉ.MP4", "models": ["M/été", "models/neu"], "output_path": "o.slp"}],
    }
    jobs = yaml.safe_load(unicodedata.normalize(other, yaml.safe_dump(jobs, allow_unicode=True)))
    files = {"Jobs.yaml": jobs, "a.yaml": config, labels: "", weights: "", video: ""}
    files |= {f"{model}/best.ckpt": "", f"{model}/training_config.yaml": ""}
    plan = read_twice(write(files), tmp_path)
    assert (plan.steps[0].config, plan.steps[0].labels) == ("a.yaml", (labels,))
    assert (plan.predictions[0].data, plan.predictions[0].models) == (video, (model, "models/Neu"))
    written = yaml.safe_load((tmp_path / "job/a.yaml").read_text())
    assert written["model_config"]["pretrained_head_weights"] == weights
    override = unicodedata.normalize(other, "model_config.pretrained_head_weights=w/été.ckpt")
    (read,) = inspect_package(write(files), [override]).steps[0].overrides
    assert read.paths() == (weights,)


# -------- files beside


@pytest.mark.parametrize(
    "names",
    [
        ("__MACOSX/._flies", "__MACOSX/flies/._x.pkg.slp"), ("._flies", "flies/._jobs.yaml"),
        (".DS_Store", "flies/.DS_Store"),
        ("desktop.ini", "flies/Desktop.ini", "flies/Thumbs.db"), (".Spotlight-V100/a", ".Trashes/b", ".fseventsd/c"),
        (".git/config", ".git/objects/aa/bb", "flies/.git/HEAD"), ("Icon\r", "flies/Icon\r"),
        ("README.txt", "notes/LIESMICH.txt", "run.sh"),
        ("System Volume Information/x", "$RECYCLE.BIN/y"),
        ("\U0001f469\u200d\U0001f52c notes.txt", "a\u202fb\u3000c.txt"),
        ("aux.txt", "notes.", "con/a b /x", "14:30.txt", "n" * 255), ("old/flies/jobs.yaml",),
    ],
)  # fmt: skip
def test_files_beside_the_folder_of_a_package_do_not_matter(names, write, tmp_path):
    files = {f"flies/{name}": content for name, content in FILES.items()}
    assert read_twice(write(dict.fromkeys(names, "x") | files), tmp_path).root == "flies/"


def test_what_systems_add_is_not_counted_and_not_unpacked(write, tmp_path, monkeypatch):
    monkeypatch.setattr("rtc.packages.zip_reader.MEMBERS_MAX", 3)
    package = write(FILES | {f".git/objects/{number}": "" for number in range(9)})
    read_twice(package, tmp_path)
    assert not (tmp_path / "job/.git").exists()


@pytest.mark.parametrize(
    "name", ["../.DS_Store", "/__MACOSX/x", "__MACOSX/../x", "..", "a/.gitx/b", "x._a", "desktop.ini.slp"]
)
def test_what_could_lead_out_or_only_looks_similar_is_not_ignored(name):
    assert not is_ignored(name)


def test_a_package_may_lie_in_many_folders(write, tmp_path):
    files = {f"a/b c/d/{name}": content for name, content in FILES.items()}
    assert read_twice(write(files | {"a/readme.txt": ""}), tmp_path).root == "a/b c/d/"


def test_what_precedes_or_follows_an_archive_does_not_matter(write, tmp_path):
    assert read_twice(write(FILES, comment=b"made by hand" * 100, prefix=b"MZ" + bytes(5000)), tmp_path).steps


@pytest.mark.parametrize("prefix", [b"", b"MZ" + bytes(300)])
def test_large_archives_and_those_that_were_written_to_a_pipe_are_read(prefix, write, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # so that it has a ZIP64 end record
    assert read_twice(write(FILES, prefix=prefix), tmp_path).steps


# -------- settings that the worker chooses


@pytest.mark.parametrize(
    "settings",
    [
        {"ckpt_dir": "/srv/models"}, {"ckpt_dir": "../models"}, {"ckpt_dir": 7},
        {"ckpt_dir": "C:\\Users\\José\\models"},
        {"run_name": "../../x"}, {"run_name": "${oc.env:MY_TOKEN}"}, {"run_name": None},
        {"ckpt_dir": "${oc.env:MY_TOKEN}"}, {"wandb": None},
        {"wandb": {"api_key": "${oc.env:MY_TOKEN}", "prv_runid": "../../x"}},
        {"wandb": {"prv_runid": "../../x"}},
        {"zmq": {"publish_port": "${oc.env:MY_TOKEN}"}}, {"zmq": {"publish_address": "tcp://10.0.0.1:9001"}},
        {"trainer_devices": "${oc.env:MY_TOKEN}", "trainer_accelerator": "tpu"},
    ],
)  # fmt: skip
def test_settings_that_the_worker_chooses_may_say_anything(settings, write, tmp_path):
    files = FILES | {"a.yaml": CONFIG | {"trainer_config": settings}}
    plan = read_twice(write(files), tmp_path)
    assert plan.steps[0].run_path == "models/run"
    text = (tmp_path / "job/a.yaml").read_text()
    assert not any(word in text for word in ("MY_TOKEN", "/srv", "..", "José"))
    written = yaml.safe_load(text)["trainer_config"]
    assert (written["ckpt_dir"], written["run_name"]) == ("models", "run")


@pytest.mark.parametrize("cache", ["/scratch/cache", "~/cache", "..\\cache", "D:\\cache", "${oc.env:MY_TOKEN}", 7])
def test_the_folder_for_images_is_one_of_the_worker(cache, write, tmp_path):
    data = {"train_labels_path": ["x.pkg.slp"], "cache_img_path": cache, "use_existing_imgs": True}
    read_twice(write(FILES | {"a.yaml": CONFIG | {"data_config": data}}), tmp_path)
    written = yaml.safe_load((tmp_path / "job/a.yaml").read_text())["data_config"]
    assert written.get("cache_img_path") is None


def test_a_place_for_models_outside_is_only_a_name(write):
    for run in ("../x", "/srv/models/x", "C:\\models\\x", "..\\..\\x"):
        jobs = {
            "training": [{"cfg": "a.yaml", "run_path": run, "train_labels": "x.pkg.slp"}],
            "inference": [{"data_path": "x.pkg.slp", "models": [run], "type": "labels"}],
        }
        plan = inspect_package(write(FILES | {"jobs.yaml": jobs}))
        assert (plan.steps[0].run_path, plan.predictions[0].models) == ("models/x", ("models/x",))


@pytest.mark.parametrize(
    "override",
    [
        "trainer_config.ckpt_dir=../models",
        "data_config.cache_img_path=/scratch/c",
    ],
)
def test_overrides_of_a_package_for_what_the_worker_chooses_are_left_out(override, write):
    jobs = {"training": [JOBS["training"][0] | {"overrides": [override, "trainer_config.seed=1"]}]}
    (step,) = inspect_package(write(FILES | {"jobs.yaml": jobs})).steps
    assert [str(item) for item in step.overrides] == ["++trainer_config.seed=1"]


def test_a_trained_model_may_tell_of_the_computer_that_trained_it(write, tmp_path):
    config = {
        "data_config": {"train_labels_path": ["${oc.env:MY_TOKEN}/x.slp"], "val_labels_path": "/srv/x.slp"},
        "model_config": {"pretrained_head_weights": "${oc.env:MY_TOKEN}"},
        "trainer_config": {
            "ckpt_dir": "${oc.env:MY_TOKEN}",
            "run_name": "C:\\x",
            "wandb": {"project": "${a}"},
            "seed": 3,
        },
    }
    read_twice(write(MODEL | {"m/run/training_config.yaml": config}), tmp_path)
    written = (tmp_path / "job/m/run/training_config.yaml").read_text()
    assert "$" not in written
    assert yaml.safe_load(written)["trainer_config"] == {"run_name": "C:\\x", "seed": 3}


def test_an_old_configuration_may_tell_of_the_computer_that_wrote_it(write, tmp_path):
    outputs = {"runs_folder": "${oc.env:MY_TOKEN}", "run_name": "${x}", "run_name_prefix": "..\\"}
    old = {
        "data": {"labels": {"training_labels": "${oc.env:MY_TOKEN}"}},
        "model": {"backbone": {"unet": {"filters": 8}}, "heads": {"centroid": {}}},
        "outputs": outputs,
    }
    jobs = {"training": [{"cfg": "a.JSON", "train_labels": "x.pkg.slp"}]}
    (step,) = read_twice(write({"jobs.yaml": jobs, "a.json": json.dumps(old), "x.pkg.slp": ""}), tmp_path).steps
    assert (step.run_path, step.legacy) == ("models/a", True)
    assert "MY_TOKEN" not in (tmp_path / "job/a.json").read_text()


# -------- folders of images


def predict_on(data, *images, **changes):
    return (
        MODEL
        | dict.fromkeys(images, "")
        | {"jobs.yaml": {"inference": [INFERENCE["inference"][0] | {"data_path": data} | changes]}}
    )


@pytest.mark.parametrize(
    "spelling", ["frames", "frames/", ".\\frames", "/home/lab/frames", "C:\\lab\\Frames", "FRAMES"]
)
def test_a_folder_of_images_is_data(spelling, write, tmp_path):
    files = predict_on(
        spelling, "frames/img1.png", "frames/img2.jpg", "frames/notes.txt", options={"only_labeled_frames": True}
    )
    (step,) = read_twice(write(files), tmp_path).predictions
    assert (step.name, step.data, step.output, step.options) == ("frames", "frames", "frames.predictions.slp", {})


def test_one_image_is_data_too(write):
    assert inspect_package(write(predict_on("a/img.tif", "a/img.tif"))).predictions[0].data == "a/img.tif"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (predict_on("frames", "frames/notes.txt"), "'frames' to predict on is missing"),
        (predict_on("frames", "frames/img.PNG"), "'frames' to predict on is missing"),
        (predict_on("frames", "frames/inner/img.png"), "'frames' to predict on is missing"),
        (predict_on("../frames", "frames/img.png"), "outside itself"),
        (predict_on("f.slp", "f.slp/img.png"), "is a folder"),
    ],
)
def test_a_folder_without_images_that_sleap_nn_reads_is_no_data(files, expected, write):
    with pytest.raises(RtcError) as caught:
        inspect_package(write(files))
    assert caught.value.fault.code is FaultCode.BAD_PACKAGE
    assert expected in caught.value.fault.text
