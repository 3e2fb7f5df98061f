"""Packages are read without trust: their plans, and every reason to refuse a package or an archive."""

import json
import os
import shutil
import stat
import struct
import zipfile

import pytest
import trio
import yaml
from hypothesis import given
from hypothesis import strategies as st

from protocol.faults import FaultCode
from protocol.jobs import JobKind
from rtc.common.errors import RtcError
from rtc.packages import zip_reader
from rtc.packages.file_names import NAME_LENGTH
from rtc.packages.model_config import read_model_config
from rtc.packages.plan import Plan, TrainStep, inspect_package, read_plan
from rtc.packages.safe_yaml import safe_yaml
from rtc.packages.zip_reader import UnpackLimit, unpack
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import make_package

CONFIG = {
    "data_config": {"train_labels_path": ["x.pkg.slp"]},
    "model_config": {"head_configs": {}, "backbone_config": {}},
    "trainer_config": {"max_epochs": 7, "run_name": "run"},
}
LEGACY = {
    "data": {"labels": {"training_labels": "C:\\old\\flies.slp", "validation_labels": None}},
    "model": {"backbone": {"unet": {"filters": 8}}, "heads": {"centroid": {"sigma": 2.5}}},
    "optimization": {"epochs": 9},
    "outputs": {"run_name": "old.centroid.n=3", "runs_folder": "models"},
}
JOBS = {"training": [{"cfg": "a.yaml", "run_path": "models/run", "train_labels": "x.pkg.slp"}]}
WINDOWS = {"training": [{"cfg": "a.yaml", "run_path": "models\\run.n=1", "train_labels": "x.pkg.slp"}]}
STEP = TrainStep("a", "a.yaml", "models/run", epochs=7, effective_labels=("x.pkg.slp",))


def entry(**changes):
    return {"training": [JOBS["training"][0] | changes]}


def config(section=None, **changes):
    return CONFIG if section is None else CONFIG | {section: CONFIG[section] | changes}


@pytest.fixture
def write(tmp_path):
    """Write a zip of named texts (dicts become YAML or JSON) and return its path."""

    def write(files):
        path = tmp_path / "package.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                if isinstance(content, dict):
                    content = json.dumps(content) if name.endswith(".json") else yaml.safe_dump(content)
                archive.writestr(name, content)
        return path

    return write


def refusal(read, *arguments):
    with pytest.raises(RtcError) as caught:
        read(*arguments)
    return caught.value.fault


def fault_code(read, *arguments):
    """Return the code of the error that `read` raises, or None when it raises none."""
    try:
        read(*arguments)
    except RtcError as error:
        return error.fault.code
    return None


def test_a_package_names_its_models_in_order(tmp_path):
    path = make_package(tmp_path / "flies.zip", ("centroid", "centered_instance"), epochs=5)
    assert inspect_package(path) == Plan(
        JobKind.TRAIN,
        tuple(
            TrainStep(
                head, f"{head}.yaml", f"models/260101_120000.{head}.n=12", (), (), 5, False, head, ("toy.pkg.slp",)
            )
            for head in ("centroid", "centered_instance")
        ),
    )


async def test_unpacked_and_packed_are_read_alike(tmp_path):
    path = make_package(tmp_path / "flies.zip", ("centroid", "centered_instance"))
    await unpack(path, tmp_path / "job")
    assert read_plan(tmp_path / "job") == inspect_package(path)


def test_a_package_wrapped_in_one_folder_is_taken(write):
    path = write({"flies/jobs.yaml": JOBS, "flies/a.yaml": CONFIG, "flies/x.pkg.slp": "", "__MACOSX/flies/._a": ""})
    assert inspect_package(path) == Plan(JobKind.TRAIN, (STEP,), "flies/")


def test_paths_written_by_windows_are_understood(write):
    (step,) = inspect_package(write({"jobs.yaml": WINDOWS, "a.yaml": CONFIG, "x.pkg.slp": ""})).steps
    assert step.run_path == "models/run.n=1"


def test_a_package_with_only_a_script_is_read(write):
    script = "#!/bin/bash\r\nsleap train --config-name a.yaml --config-dir . trainer_config.seed=3\r\n"
    (step,) = inspect_package(write({"train-script.sh": script, "a.yaml": CONFIG, "x.pkg.slp": ""})).steps
    assert (step.run_path, step.labels, [str(item) for item in step.overrides]) == (
        "models/run",
        (),
        ["++trainer_config.seed=3"],
    )


def test_jobs_yaml_outweighs_the_script(write):
    files = {"jobs.yaml": JOBS, "a.yaml": CONFIG, "x.pkg.slp": "", "train-script.sh": "rm -rf /"}
    assert inspect_package(write(files)).steps[0].overrides == ()


def test_an_old_configuration_is_known_as_such(write):
    script = "sleap-train centroid.json x.pkg.slp\n"
    (step,) = inspect_package(write({"train-script.sh": script, "centroid.json": LEGACY, "x.pkg.slp": ""})).steps
    labels, run = ("x.pkg.slp",), "models/old.centroid.n=3"
    assert step == TrainStep("centroid", "centroid.json", run, labels, (), 9, True, "centroid", labels)


def test_each_model_gets_a_fresh_folder(write):
    jobs = {"training": JOBS["training"] * 2}
    files = {"jobs.yaml": jobs, "a.yaml": CONFIG, "x.pkg.slp": "", "models/run/best.ckpt": ""}
    assert [step.run_path for step in inspect_package(write(files)).steps] == ["models/run-2", "models/run-3"]


def test_folders_of_models_differ_on_a_disk_that_ignores_case(write):
    jobs = {"training": [{"cfg": "a.yaml", "run_path": path} for path in ("models/Run", "models/run")]}
    plan = inspect_package(write({"jobs.yaml": jobs, "a.yaml": CONFIG, "x.pkg.slp": ""}))
    assert [step.run_path for step in plan.steps] == ["models/Run", "models/run-2"]


def test_labels_that_differ_from_the_configuration_are_named(write):
    jobs = {"training": [{"cfg": "a.yaml", "train_labels": "y.slp"}]}
    (step,) = inspect_package(write({"jobs.yaml": jobs, "a.yaml": CONFIG, "x.pkg.slp": "", "y.slp": ""})).steps
    assert step.labels == ("y.slp",)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"readme.txt": ""}, "neither jobs.yaml"),
        ({"a/jobs.yaml": JOBS, "b/x": ""}, "'a.yaml' is missing"),
        ({"a/jobs.yaml": JOBS, "b/jobs.yaml": JOBS}, "several packages, such as 'a' and 'b'"),
        ({"a/flies.zip": "", "readme.txt": ""}, "holds another zip, 'flies.zip'"),
        ({"jobs.yaml": {"training": [], "inference": []}}, "nothing to train"),
        ({"jobs.yaml": "null"}, "nothing to train"),
        ({"train-script.sh": "#!/bin/bash\n"}, "nothing to train"),
        ({"jobs.yaml": "training: ["}, "no valid YAML"),
        ({"jobs.yaml": "a: !!python/object/apply:os.getcwd []"}, "tags of YAML"),
        ({"jobs.yaml": {"training": "a"}}, "no list"),
        ({"jobs.yaml": {"training": [{"run_path": "a"}]}}, "no configuration"),
        ({"jobs.yaml": {"training": [{"cfg": "a.yaml"}] * 101}}, "101 models"),
        ({"jobs.yaml": JOBS, "x.pkg.slp": ""}, "'a.yaml' is missing"),
        ({"jobs.yaml": JOBS, "a.yaml": CONFIG}, "'x.pkg.slp' is missing"),
        ({"jobs.yaml": JOBS, "a.yaml": "a: [", "x.pkg.slp": ""}, "no valid YAML"),
        ({"jobs.yaml": JOBS, "a.yaml": "[" * 600, "x.pkg.slp": ""}, "too many lists in lists"),
        ({"jobs.yaml": JOBS, "a.yaml": "- 1", "x.pkg.slp": ""}, "no training configuration"),
        ({"jobs.yaml": JOBS, "a.yaml": b"\x89HDF\r\n\x1a\n\0\0", "x.pkg.slp": ""}, "not plain text"),
        ({"jobs.yaml": JOBS, "a.yaml": "#" * 2**20 + "##", "x.pkg.slp": ""}, "too large"),
        ({"jobs.yaml": JOBS, "a.yaml": {"data_config": {}}, "x.pkg.slp": ""}, "no model"),
        ({"jobs.yaml": {"training": [{"cfg": "/home/me/a.yaml"}]}}, "outside itself"),
        ({"jobs.yaml": entry(train_labels="/x"), "a.yaml": CONFIG}, "outside itself"),
        ({"jobs.yaml": {"training": [{"cfg": "o.json"}]}, "o.json": {"model": {}}}, "no model"),
        ({"jobs.yaml": entry(cfg="o.json"), "o.json": {"model": {"backbone": {"leap": {}}}}}, "no longer has"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_trained_is_refused_with_its_reason(files, expected, write):
    fault = refusal(inspect_package, write(files))
    assert fault.code is FaultCode.BAD_PACKAGE
    assert expected in fault.text


@pytest.mark.parametrize(
    "changed",
    [
        config("trainer_config", resume_ckpt_path="/x/best.ckpt"),
        config("data_config", val_labels_path=["C:\\x.slp"]),
        config("model_config", pretrained_backbone_weights="..\\x.ckpt"),
        config("model_config", pretrained_head_weights="/x.ckpt"),
        config("trainer_config", optimizer_name="${oc.env:MY_TOKEN}"),
        config("trainer_config", profiler="${oc.env:MY_TOKEN}"),
    ],
)
def test_a_configuration_that_reaches_out_is_refused(changed, write):
    fault = refusal(inspect_package, write({"jobs.yaml": JOBS, "a.yaml": changed, "x.pkg.slp": ""}))
    assert fault.code is FaultCode.BAD_PACKAGE
    assert not any(word in fault.text for word in ("MY_TOKEN", "passwd", "/srv"))


@pytest.mark.parametrize("labels", [["/etc/passwd"], "../x.slp", ["C:\\lab\\x.pkg.slp"]])
def test_labels_outside_the_package_are_refused_where_nothing_else_names_any(labels, write):
    files = {"a.yaml": config("data_config", train_labels_path=labels), "x.pkg.slp": ""}
    fault = refusal(inspect_package, write(files | {"jobs.yaml": {"training": [{"cfg": "a.yaml"}]}}))
    assert (fault.code, "passwd" in fault.text) == (FaultCode.BAD_PACKAGE, False)
    (step,) = inspect_package(write(files | {"jobs.yaml": JOBS})).steps
    assert step.labels == ("x.pkg.slp",)


def test_a_missing_file_is_a_matter_of_usage(tmp_path):
    fault = refusal(inspect_package, tmp_path / "nowhere.zip")
    assert fault.code is FaultCode.USAGE
    assert "nowhere.zip" in fault.text
    assert str(tmp_path) not in fault.text


def test_a_pipe_or_folder_in_place_of_the_zip_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "folder.zip").mkdir()
    for name, expected in (("pipe.zip", "pipe.zip is no ordinary file"), ("folder.zip", "folder.zip is a folder")):
        fault = refusal(inspect_package, tmp_path / name)
        assert fault.code is FaultCode.USAGE
        assert expected in fault.text


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "labels.slp"
    path.write_bytes(b"\x89HDF" * 1000)
    assert refusal(inspect_package, path).code is FaultCode.BAD_PACKAGE
    path.write_bytes(make_package(tmp_path / "p.zip").read_bytes()[:-30])
    assert refusal(inspect_package, path).code is FaultCode.BAD_PACKAGE


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "a/../../evil", "/etc/evil", "a\\..\\..\\evil", "..\\evil", "\\evil", "C:\\evil", "C:evil",
        "__MACOSX/../evil", ".git\\..\\..\\evil", "a\\\\evil", "a//evil", "a/./evil", "././evil",
        ".//evil", "./../evil", "con", "a/NUL.txt", "lpt1",
        "evil.", "evil ", "new\nline", "esc\x1b[2J", "\u202egnp.exe", "n" * 256, "/".join(["deep"] * 250),
    ],
)  # fmt: skip
async def test_one_bad_name_refuses_the_whole_archive(name, write, tmp_path):
    path = write({"good.txt": "good", name: "bad"})
    with pytest.raises(RtcError) as caught:
        await unpack(path, tmp_path / "out")
    assert caught.value.fault.code is FaultCode.BAD_PACKAGE
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "pair", [("a.txt", "A.TXT"), ("é.txt", "e\u0301.txt"), ("straße", "STRASSE"), ("a", "a/b"), ("x/Y/z", "x/y")]
)
async def test_names_that_some_disks_store_as_one_file_are_refused(pair, write, tmp_path):
    with pytest.raises(RtcError, match=r"same name|twice"):
        await unpack(write(dict.fromkeys(pair, "")), tmp_path / "out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
async def test_links_and_devices_are_refused(kind, tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(RtcError, match="link or a device"):
        await unpack(tmp_path / "p.zip", tmp_path / "out")


async def test_files_with_the_names_of_unfinished_ones_are_unpacked_too(tmp_path):
    names = {"a.part", "a", "b/.part", f"b/{'n' * 200}"}
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in sorted(names, reverse=True):
            archive.writestr(name, name)
    await unpack(tmp_path / "p.zip", tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")} == {*names, "b"}


async def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(30 * 2**20))
    with pytest.raises(RtcError, match="suspiciously large"):
        await unpack(tmp_path / "p.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_encrypted_and_unusual_archives_are_refused(tmp_path):
    plain = make_package(tmp_path / "p.zip").read_bytes()
    at = plain.index(b"PK\1\2")
    for offset, value, expected in ((8, 1, "encrypted"), (10, 12, "unusual"), (10, 9, "Deflate64")):
        changed = bytearray(plain)
        struct.pack_into("<H", changed, at + offset, value)
        (tmp_path / "q.zip").write_bytes(changed)
        with pytest.raises(RtcError, match=expected):
            await unpack(tmp_path / "q.zip", tmp_path / "out")


async def test_members_that_share_bytes_are_refused(tmp_path):
    plain = bytearray(make_package(tmp_path / "p.zip").read_bytes())
    first = plain.index(b"PK\1\2")
    second = plain.index(b"PK\1\2", first + 4)
    struct.pack_into("<L", plain, second + 42, 0)  # the second file begins where the first does
    (tmp_path / "q.zip").write_bytes(plain)
    with pytest.raises(RtcError, match="overlap"):
        await unpack(tmp_path / "q.zip", tmp_path / "out")


async def test_a_damaged_member_is_noticed_and_leaves_no_half_file(tmp_path):
    plain = bytearray(make_package(tmp_path / "p.zip").read_bytes())
    plain[plain.index(b"no real labels")] ^= 0xFF
    (tmp_path / "q.zip").write_bytes(plain)
    with pytest.raises(RtcError, match="damaged"):
        await unpack(tmp_path / "q.zip", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*toy*"))
    assert not list((tmp_path / "out").rglob("*.part"))


async def test_a_member_of_another_size_than_declared_is_refused(tmp_path):
    plain = bytearray(make_package(tmp_path / "p.zip").read_bytes())
    struct.pack_into("<L", plain, plain.index(b"PK\1\2") + 24, 5)
    (tmp_path / "q.zip").write_bytes(plain)
    with pytest.raises(RtcError, match=r"another size|damaged"):
        await unpack(tmp_path / "q.zip", tmp_path / "out")


async def test_too_many_files_are_refused(write, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_reader, "MEMBERS_MAX", 3)
    with pytest.raises(RtcError, match="holds 4 files"):
        await unpack(write(dict.fromkeys("abcd", "")), tmp_path / "out")


async def test_a_table_of_contents_that_would_fill_memory_is_refused(write, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_reader, "DIRECTORY_MAX", 100)
    with pytest.raises(RtcError, match="too many files"):
        await unpack(write(dict.fromkeys("abcd", "")), tmp_path / "out")


async def test_a_full_disk_is_reported_before_anything_is_written(write, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_reader, "DISK_SPARE", 1e18)
    with pytest.raises(RtcError) as caught:
        await unpack(write({"a": "text"}), tmp_path / "out")
    assert caught.value.fault.code is FaultCode.DISK_FULL
    assert not list((tmp_path / "out").iterdir())


async def test_what_a_mac_adds_is_left_out(write, tmp_path):
    await unpack(write({"a/b.txt": "x", "__MACOSX/a/._b.txt": "", "a/.DS_Store": "", "empty/": ""}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["a", "b.txt"]


async def test_unpacking_ends_when_it_is_cancelled(tmp_path, monkeypatch):
    begun, check_cancelled = trio.Event(), trio.from_thread.check_cancelled

    def check():
        if not begun.is_set():
            trio.from_thread.run_sync(begun.set)
        check_cancelled()

    monkeypatch.setattr(trio.from_thread, "check_cancelled", check)
    monkeypatch.setattr(zip_reader, "BLOCK", 1)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("large", bytes(50 * 2**20))  # byte by byte it takes far longer than to cancel it
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unpack, tmp_path / "p.zip", tmp_path / "out")
        with trio.fail_after(HANG_TIME):
            await begun.wait()
        nursery.cancel_scope.cancel()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "training: !!bool maybe", "training: !!int ''", "training: !!float ''", "training: !!timestamp foo",
        "training: !!binary \u00e9", "training: !!set [a]", "training: !!omap x", "? [a]\n: b", "x: 2026-13-45",
        "x: &a [*b]", "x: \0", "x: " + "9" * 5000, "a: &a {x: 1}\nb: {<<: [*a, *a]}",
    ],
)  # fmt: skip
def test_a_tag_that_lies_about_its_value_is_a_refusal_and_no_crash(text, write):
    for files in ({"jobs.yaml": text}, {"jobs.yaml": JOBS, "a.yaml": text, "x.pkg.slp": ""}):
        assert refusal(inspect_package, write(files)).code is FaultCode.BAD_PACKAGE


def test_merge_keys_that_would_fill_the_memory_are_refused_at_once():
    lines = ["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 13))]
    assert refusal(safe_yaml, "jobs.yaml", "\n".join(lines)).code is FaultCode.BAD_PACKAGE


yaml_tags = st.sampled_from(
    ["", "!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!null ", "!!set ", "!!omap ", "!!pairs ",
     "!!seq ", "!!map ", "!!str ", "!!merge ", "!!value ", "!!python/name:os.system ", "!own ", "&a ", "*a", "<<: "]
)  # fmt: skip
yaml_bits = st.sampled_from(
    ["''", "maybe", "yes", "0x", "0b2", "1:99:7", "-", "+.inf", "1e999", "2026-99-99", "[", "]", "{", "}", ": ", ", ",
     "\n", "\n  ", "- ", "? ", "training", "cfg", "model_config", "data_config", "train_labels_path", "max_epochs", "|"]
)  # fmt: skip
yaml_noise = st.lists(yaml_tags | yaml_bits | st.text(max_size=5), max_size=30).map("".join)


@given(
    yaml_noise | yaml_noise.map("training: ".__add__) | yaml_noise.map("model_config: {a: 1}\ndata_config: ".__add__)
)
def test_whatever_a_package_says_is_read_or_refused(text):
    for read in (lambda: safe_yaml("jobs.yaml", text), lambda: read_model_config("a.yaml", text)):
        assert fault_code(read) in (None, FaultCode.BAD_PACKAGE)


@pytest.mark.parametrize("offset", [2**64 - 1, 2**63, 2**63 - 1, 2**62])
def test_a_zip_whose_table_lies_beyond_all_files_is_refused(offset, tmp_path):
    plain = make_package(tmp_path / "p.zip").read_bytes()
    at = plain.rindex(b"PK\5\6")
    (tmp_path / "q.zip").write_bytes(plain[:at] + b"PK\6\7" + struct.pack("<LQL", 0, offset, 1) + plain[at:])
    assert refusal(inspect_package, tmp_path / "q.zip").code is FaultCode.BAD_PACKAGE


@pytest.fixture(scope="module")
def mutant(tmp_path_factory):
    """Return the bytes of a valid package, and a folder for changed copies of it."""
    folder = tmp_path_factory.mktemp("mutants")
    return make_package(folder / "p.zip").read_bytes(), folder


@given(
    st.lists(
        st.tuples(
            st.integers(1, 1200), st.sampled_from([b"\0", b"\1", b"\x80", b"\xff"]), st.sampled_from([1, 2, 4, 8])
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 60),
)
def test_a_zip_changed_anywhere_is_read_or_refused(mutant, changes, cut):
    plain, folder = mutant
    data = bytearray(plain)
    for back, byte, count in changes:  # counted from the end, where the tables are
        at = max(0, len(data) - back)
        data[at : at + count] = byte * count
    (folder / "q.zip").write_bytes(data[: len(data) - cut] if cut > 50 else data)
    for read in (inspect_package, lambda path: zip_reader._unpack(path, folder / "out", lambda: None)):
        # a size in the changed table may be larger than this machine's disk
        assert fault_code(read, folder / "q.zip") in (None, FaultCode.BAD_PACKAGE, FaultCode.DISK_FULL)
    shutil.rmtree(folder / "out", ignore_errors=True)


def test_a_name_of_ours_fits_into_any_file_system_and_frame(write):
    jobs = entry(run_path="models/" + "\U00020000" * 300)
    (step,) = inspect_package(write({"jobs.yaml": jobs, "a.yaml": CONFIG, "x.pkg.slp": ""})).steps
    assert len(step.run_path.removeprefix("models/").encode()) <= NAME_LENGTH


@pytest.mark.parametrize(("limit", "code"), [(3000, None), (2999, FaultCode.TOO_LARGE)])
async def test_a_package_that_unpacks_to_more_than_the_limit_is_refused(limit, code, write, tmp_path):
    path = write({"a": bytes(1000), "b": bytes(2000)})
    found = None
    try:
        await unpack(path, tmp_path / "out", UnpackLimit(limit, "--max-package of the worker"))
    except RtcError as error:
        found = error.fault
    assert (found.code if found else None) is code
    assert found is None or ("--max-package" in found.text and "unpacks to 3.0 kB; at most" in found.text)
    assert (tmp_path / "out").exists() == (code is None)


def test_many_files_that_each_shrink_much_are_refused_together(write, monkeypatch):
    monkeypatch.setattr(zip_reader, "RATIO_FREE_IN_ALL", 10**6)
    path = write({"jobs.yaml": JOBS, "a.yaml": CONFIG, "x.pkg.slp": ""})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(str(number), bytes(3_000_000))
    assert "suspiciously" in refusal(inspect_package, path).text
