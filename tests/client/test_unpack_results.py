"""The result of a job is unpacked whole, into a folder that contains nothing else."""

import errno
import os
import zipfile
from pathlib import Path

import pytest
import trio

from protocol.faults import FaultCode
from protocol.jobs import JobKind
from rtc.client.report import training_log, write_report
from rtc.client.unpack_results import ModelLosses, choose_output_folder, final_losses, unpack_results
from rtc.common.errors import RtcError
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan, TrainStep
from rtc.worker import pack_results as pack_results_module
from rtc.worker.pack_results import pack_results

PLAN = Plan(JobKind.TRAIN, (TrainStep("a", "a.yaml", "models/a.n=1"), TrainStep("b", "b.yaml", "models/b.n=1")))


@pytest.fixture
def job(tmp_path):
    """A job's folder after its first model; the second was never begun."""
    folder = tmp_path / "job"
    files = {
        "job.log": "log",
        "x.pkg.slp": "labels",
        "models/a.n=1/best.ckpt": "model",
        "models/a.n=1/training_log.csv": "epoch,train/loss,val/loss\n0,,0.5\n1,0.4,0.3\n",
        "models/a.n=1/viz/train.0000.png": "picture",
        "models/old/best.ckpt": "came with the package",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "models/a.n=1/passwd").symlink_to("/etc/passwd")
    return folder


async def test_models_and_log_come_back_and_nothing_else(job, tmp_path):
    archive, output = tmp_path / "result.zip", tmp_path / "deep" / "out"
    await pack_results(job, PLAN, archive)
    assert archive.stat().st_mode & 0o777 == 0o600
    models = await unpack_results(archive, output)
    assert [str(model) for model in models] == ["models/a.n=1"]
    assert sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()) == [
        "job.log",
        "models/a.n=1/best.ckpt",
        "models/a.n=1/training_log.csv",
    ]
    assert list(output.parent.iterdir()) == [output]
    assert {path.name for path in tmp_path.iterdir()} == {"job", "result.zip", "deep"}


async def test_predictions_come_back_and_what_they_were_made_of_does_not(job, tmp_path):
    names = ("x.slp", "deep/y.slp", "gone.slp", "bad.slp", "l/z.slp")
    steps = tuple(PredictStep("x", "x.pkg.slp", (), name) for name in names)
    (job / "x.slp").write_text("predictions")
    (job / "deep").mkdir()
    (job / "deep/y.slp").write_text("more of them")
    (job / "bad.slp").symlink_to("/etc/passwd")
    (job / "l").symlink_to("deep")
    (job / "deep/z.slp").write_text("behind a link")
    await pack_results(job, Plan(JobKind.TRACK, (), predictions=steps), tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert archive.namelist() == ["job.log", "x.slp", "deep/y.slp"]
    await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    assert (tmp_path / "out/deep/y.slp").read_text() == "more of them"


async def test_a_failed_job_brings_back_its_log(tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "job.log").write_text("log")
    await pack_results(tmp_path / "job", PLAN, tmp_path / "r.zip", "flies")
    assert await unpack_results(tmp_path / "r.zip", tmp_path / "out") == ()
    assert (tmp_path / "out" / "flies" / "job.log").read_text() == "log"


async def test_a_wrapped_package_gives_the_same_names(job, tmp_path):
    (tmp_path / "top").mkdir()
    job.rename(tmp_path / "top" / "flies")
    await pack_results(tmp_path / "top", Plan(PLAN.kind, PLAN.steps, "flies/"), tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert archive.namelist() == ["models/a.n=1/best.ckpt", "models/a.n=1/training_log.csv"]


async def test_a_cancelled_packing_leaves_nothing(job, tmp_path):
    with trio.CancelScope() as scope:
        scope.cancel()
        await pack_results(job, PLAN, tmp_path / "r.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


async def test_a_bad_result_leaves_no_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr("good", "")
        archive.writestr("../evil", "")
    with pytest.raises(RtcError):
        await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["r.zip"]


async def test_an_empty_output_folder_is_filled(job, tmp_path):
    (tmp_path / "out").mkdir()
    await pack_results(job, PLAN, tmp_path / "r.zip")
    assert (
        len(await unpack_results(tmp_path / "r.zip", choose_output_folder(tmp_path / "p.zip", tmp_path / "out"))) == 1
    )


async def test_an_output_that_was_filled_meanwhile_is_not_touched(job, tmp_path):
    await pack_results(job, PLAN, tmp_path / "r.zip")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(RtcError) as caught:
        await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    assert caught.value.fault.code is FaultCode.USAGE
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("package", "folder"),
    [
        ("flies.slp.training_job.zip", "flies"),
        ("flies.pkg.slp.training_job.zip", "flies"),
        ("tiny_topdown.training_job.zip", "tiny_topdown"),
        ("My Flies v1.2.ZIP", "My Flies v1.2"),
        (".zip", "results"),
    ],
)
def test_the_output_is_named_after_the_package(package, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert choose_output_folder(tmp_path / "elsewhere" / package, None) == tmp_path / folder
    (tmp_path / folder).mkdir()
    (tmp_path / f"{folder}-2").write_text("")
    assert choose_output_folder(tmp_path / package, None) == tmp_path / f"{folder}-3"


def test_an_output_that_holds_something_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    assert choose_output_folder(tmp_path / "p.zip", tmp_path / "out") == tmp_path / "out"
    (tmp_path / "out" / "mine").write_text("")
    for taken in (tmp_path / "out", tmp_path / "out" / "mine"):
        with pytest.raises(RtcError) as caught:
            choose_output_folder(tmp_path / "p.zip", taken)
        assert caught.value.fault.code is FaultCode.USAGE
        assert str(tmp_path) not in caught.value.fault.text


@pytest.mark.parametrize(
    ("text", "losses"),
    [
        ("epoch,train/loss,val/loss\n0,,0.5\n1,0.4,0.3\n2,0.2,0.1\n", ModelLosses("m", 3, 0.2, 0.1)),
        ("epoch,train/loss,val/loss\n0,,0.5\n1,0.4,inf\n2,,\n", ModelLosses("m", 3, 0.4, 0.5)),
        ("epoch,train_loss,val_loss\n0,0.4,0.3\n", ModelLosses("m", 1, 0.4, 0.3)),
        ("epoch,train/loss\n0,rubbish\n1", ModelLosses("m", 2, None, None)),
        ("", ModelLosses("m", 0, None, None)),
    ],
)
def test_final_losses_are_the_last_known_ones(text, losses, tmp_path):
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "training_log.csv").write_text(text)
    assert final_losses(tmp_path) == (losses,)


async def test_the_current_folder_can_be_the_output(job, tmp_path, monkeypatch):
    await pack_results(job, PLAN, tmp_path / "r.zip")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    output = choose_output_folder(tmp_path / "p.zip", Path("."))
    assert output == tmp_path / "here"
    assert len(await unpack_results(tmp_path / "r.zip", output)) == 1
    assert sorted(os.listdir(".")) == ["job.log", "models"]  # still the same folder, for the shell that is in it


async def test_an_output_folder_that_cannot_be_filled_stays_empty(job, tmp_path, monkeypatch):
    await pack_results(job, PLAN, tmp_path / "r.zip")
    (tmp_path / "out").mkdir()
    real = Path.rename

    def fail(path, target):
        if path.name == "models" and path.parent != tmp_path / "out":
            raise OSError(errno.EXDEV, "no")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(RtcError) as caught:
        await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    assert caught.value.fault.code is FaultCode.USAGE
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_that_is_a_link_to_an_empty_folder_is_that_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    assert choose_output_folder(tmp_path / "p.zip", tmp_path / "link") == tmp_path / "out"


def refusal(tmp_path, output):
    with pytest.raises(RtcError) as caught:
        choose_output_folder(tmp_path / "p.zip", output)
    assert str(tmp_path) not in caught.value.fault.text
    assert caught.value.fault.code is FaultCode.USAGE
    return caught.value.fault.text


def test_an_output_that_could_never_be_written_is_found_before_anything_is_sent(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    assert "is a file" in refusal(tmp_path, tmp_path / "file" / "out")
    assert "not empty" in refusal(tmp_path, tmp_path / "gone")
    refusal(tmp_path, tmp_path / "circle" / "out")
    refusal(tmp_path, tmp_path / ("n" * 300))
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != "locked")
    assert "cannot be written" in refusal(tmp_path, tmp_path / "locked" / "deep" / "out")
    assert "cannot be written" in refusal(tmp_path, tmp_path / "locked")
    monkeypatch.chdir(tmp_path / "locked")
    assert "cannot be written" in refusal(tmp_path, None)


def test_a_log_with_a_cell_too_long_for_csv_counts_up_to_the_row_before_it(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "training_log.csv").write_text('epoch,train/loss\n0,0.5\n"' + "1" * 200_000 + '",2\n')
    (tmp_path / "n" / "training_log.csv").mkdir(parents=True)
    assert final_losses(tmp_path) == (ModelLosses("m", 1, 0.5, None),)


def run_files(tmp_path):
    """Return the files of the job's only model that were unpacked, with their texts."""
    run = tmp_path / "out" / "models" / "a.n=1"
    return {path.relative_to(run).as_posix(): path.read_text() for path in run.rglob("*") if path.is_file()}


async def test_files_whose_names_are_no_text_or_that_a_client_would_refuse_get_plain_names(job, tmp_path):
    run = job / "models" / "a.n=1"
    odd = (b"caf\xe9.png", b"caf\xe8.png", b"caf_.png", b"a:b.txt", b"two\nlines", b"nul", b"\xff/x", b"long" * 60)
    for name in odd:
        path = run / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(ascii(name).encode())
    await pack_results(job, PLAN, tmp_path / "r.zip")
    await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    files = run_files(tmp_path)
    assert files["caf_.png"] == "b'caf_.png'"
    assert {"caf_-2.png", "caf_-3.png", "a_b.txt", "two_lines", "_/x", "best.ckpt"} < set(files)
    assert set(map(ascii, odd)) <= set(files.values())


async def test_a_file_whose_path_is_too_long_is_left_out_and_logged(job, tmp_path, caplog):
    deep = job / "models" / "a.n=1" / "/".join(["d" * 100] * 11)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    await pack_results(job, PLAN, tmp_path / "r.zip")
    await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    assert set(run_files(tmp_path)) == {"best.ckpt", "training_log.csv"}
    assert "left out" in caplog.text


async def test_folders_in_folders_without_end_cannot_be_packed(job, tmp_path):
    (job / "models" / "a.n=1" / "/".join("d" * 150)).mkdir(parents=True)
    with pytest.raises(OSError, match="without end"):
        await pack_results(job, PLAN, tmp_path / "r.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"job"}


async def test_a_log_that_was_made_a_link_is_not_followed(job, tmp_path):
    (job / "job.log").unlink()
    (job / "job.log").symlink_to("/etc/passwd")
    await pack_results(job, PLAN, tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert "job.log" not in archive.namelist()


@pytest.mark.parametrize("name", ["training.html", "Training.HTML", "training.html/x", "TRAINING.html/index.html"])
async def test_a_page_of_the_worker_never_has_the_name_of_ours(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr(name, "<script>")
        archive.writestr("training.html.from-worker", "another")
    await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    names = {path.name.casefold() for path in (tmp_path / "out").iterdir()}
    assert names == {"training.html.from-worker", "training.html.from-worker-2"}
    assert write_report(tmp_path / "out", "title") is None, "nothing was trained"
    (tmp_path / "out/training_log.csv").write_text("epoch,val/loss\n0,0.5\n")
    page = write_report(tmp_path / "out", "title")
    assert page == tmp_path / "out/training.html"
    assert "<script>" not in page.read_text()


@pytest.mark.parametrize(
    "name",
    [
        "models/m/training.html",
        "models/m/Training.HTM",
        "index.html",
        "tra\u0131n\u0131ng.html",
        "training\uff0ehtml",
        "training.\uff48\uff54\uff4d\uff4c",
        "training.html\ufe0f",
        "plot.svg",
        "more.xhtml",
        "results.url",
        "training.html.lnk",
    ],
)
async def test_no_page_of_a_worker_can_be_opened_wherever_it_is_and_however_it_is_spelled(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr(name, "<script>")
        archive.writestr("models/m/training_log.csv", "epoch,val/loss\n0,0.5\n")
    await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    assert (tmp_path / "out" / f"{name}.from-worker").read_text() == "<script>"
    assert not (tmp_path / "out" / name).exists()


async def test_a_result_that_unpacks_to_more_than_the_limit_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "r.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    with pytest.raises(RtcError, match="--max-result") as caught:
        await unpack_results(tmp_path / "r.zip", tmp_path / "out", 4_999_999)
    assert caught.value.fault.code is FaultCode.TOO_LARGE
    assert [path.name for path in tmp_path.iterdir()] == ["r.zip"]
    await unpack_results(tmp_path / "r.zip", tmp_path / "out", 5_000_000)


def test_a_log_with_a_million_columns_is_read_as_fast_as_it_is_long(tmp_path):
    (tmp_path / "training_log.csv").write_text("a," * 100_000 + "val/loss\n" + "1\n" * 10_000)
    assert final_losses(tmp_path) == (ModelLosses(tmp_path.name, 10_000, None, None),)


def test_logs_are_read_up_to_a_number_of_bytes_together(tmp_path, monkeypatch):
    monkeypatch.setattr(training_log, "TRAINING_LOGS_MAX", 100)
    for number in range(9):
        (tmp_path / f"m{number}").mkdir()
        (tmp_path / f"m{number}/training_log.csv").write_text("epoch,val/loss\n0,0.5\n")
    assert len(final_losses(tmp_path)) == 4


async def test_names_of_a_result_that_differ_only_in_case_are_kept_apart(job, tmp_path):
    run = job / "models/a.n=1"
    for name in ("Z.txt", "z.txt", "a:b.txt", "a_b.txt", "A|b.txt"):
        (run / name).write_text(name)
    await pack_results(job, PLAN, tmp_path / "r.zip")
    await unpack_results(tmp_path / "r.zip", tmp_path / "out")
    texts = [path.read_text() for path in (tmp_path / "out/models/a.n=1").glob("*.txt")]
    assert sorted(texts) == ["A|b.txt", "Z.txt", "a:b.txt", "a_b.txt", "z.txt"]
    assert (tmp_path / "out/models/a.n=1/a_b.txt").read_text() == "a_b.txt", "a name that is valid stays"


async def test_names_that_have_to_change_take_as_long_as_there_are(job, tmp_path, monkeypatch):
    run = job / "models/a.n=1"
    found = [(f"models/a.n=1/a:{number % 7}", run / "best.ckpt") for number in range(2_000)]
    monkeypatch.setattr(pack_results_module, "_list_files", lambda *_: found)
    await pack_results(job, PLAN, tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert len(set(archive.namelist())) == 2_000


async def test_a_result_with_too_many_files_leaves_out_the_deepest(job, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_results_module, "MEMBERS_MAX", 3)
    images = job / "models/a.n=1/images"
    images.mkdir()
    for number in range(9):
        (images / str(number)).touch()
    await pack_results(job, PLAN, tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert {"job.log", "models/a.n=1/best.ckpt", "models/a.n=1/training_log.csv"} == set(archive.namelist())
