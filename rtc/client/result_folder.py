"""Chooses the path of a job's result on the client, unpacks the result there, and summarizes it.

The result of a training is a folder; predictions are files that the person names. No existing file is overwritten.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.jobs import MODELS_MAX, JobKind
from rtc.client.options import ClientOptions
from rtc.client.report import write_report
from rtc.client.restore_videos import restore_videos
from rtc.client.unpack_results import CLEAN_TIME, ModelLosses, choose_output_folder, final_losses, unpack_results
from rtc.common.errors import RtcError
from rtc.common.job_result import LOG_NAME
from rtc.common.scratch_dirs import scratch_name
from rtc.packages.file_names import UsedNames
from rtc.packages.inference import LABELS_ENDING
from rtc.packages.original_paths import OriginalPaths
from rtc.packages.written_config import TRAINED_FIRST
from rtc.terminal.interface import JobSummary, Losses

PREDICTIONS = ".predictions.slp"


@define
class ResultFolder:
    """The path of one result, which is a folder or a file, and what was unpacked there."""

    options: ClientOptions
    path: Path
    """The folder of a training, or the file for predictions; first chosen before anything is sent."""
    unpacked: bool = False
    """The result, or the log of a job that failed, was unpacked."""
    models: tuple[Path, ...] = ()
    """Folders of models, relative to `path`."""
    files: list[Path] = field(factory=list)
    """Files of predictions, and before them the configurations that sleap-nn has written for the labels."""
    warning: str = ""
    """What failed although the result itself is complete (the page with the loss curves, the paths of the videos);
    empty if nothing failed."""
    paths: OriginalPaths = field(factory=OriginalPaths)
    """The original paths of the job's package."""

    @property
    def parent(self) -> Path:
        """The folder that contains `path`; temporary folders go there."""
        return self.path.parent

    @property
    def fallback_archive(self) -> Path:
        """The path to which an archive is moved that cannot be unpacked."""
        return self.path.with_name(f"{self.path.name}.results.zip")

    def choose_path_again(self) -> None:
        """Choose `path` once more when the result is here, as another program may have used the path meanwhile."""
        self.path = _choose_path(self.options)

    async def unpack(self, archive: Path) -> None:
        """Unpack the result to `path`, whole or not at all.

        Raises:
            RtcError: BAD_PACKAGE, DISK_FULL, or USAGE when another program has created `path` meanwhile.
            OSError: a file cannot be written; the disk may be full.
        """
        if self.options.kind is JobKind.TRAIN:
            self.models = await unpack_results(archive, self.path, self.options.result_max, self._restore_videos)
            found = await trio.to_thread.run_sync(lambda: [*_find_configs(self.path), *_find_predictions(self.path)])
            self.files = found[:MODELS_MAX]
        else:
            folder = self.parent / scratch_name()
            try:
                await unpack_results(archive, folder, self.options.result_max, self._restore_videos)
                await trio.to_thread.run_sync(self._move_predictions, folder)
            finally:
                with trio.move_on_after(CLEAN_TIME, shield=True):
                    await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        self.unpacked = True

    def _restore_videos(self, folder: Path) -> None:
        """Give the videos in the predictions in a folder, which is not at its place yet, their paths on this machine.

        A failure only sets `warning`. Those that sleap-nn writes beside each model, which few people open, stay as they
        are without a word where they cannot be changed.
        """
        target = self.path.absolute().as_posix() if self.options.kind is JobKind.TRAIN else ""
        self.warning = restore_videos(_find_predictions(folder)[:MODELS_MAX], self.paths, target)
        restore_videos(_find_labels_of_models(folder)[:MODELS_MAX], self.paths, target)

    def _move_predictions(self, folder: Path) -> None:
        """Move predictions and the log out of a temporary folder, to `path` or to files beside it with its stem.

        The result of a job that failed has only the log; `path` is the log's path then.

        Raises:
            RtcError: BAD_PACKAGE: there are more files than a job can have predictions.
            OSError: a file could not be moved.
        """
        predictions = _find_predictions(folder)
        if len(predictions) > MODELS_MAX:
            text = f"It holds {len(predictions)} files of predictions, and a job has at most {MODELS_MAX}."
            raise RtcError(FaultCode.BAD_PACKAGE, text)
        names = _distinct_names([path.relative_to(folder).parts for path in predictions])
        base = next(path for path in _numbered_paths(self.path) if not any(map(_exists, _target_paths(path, names))))
        targets = _target_paths(base, names)
        moves = dict(zip(predictions, targets, strict=True))
        log = folder / LOG_NAME
        if log.is_file():
            moves[log] = _free_path(base.with_suffix(".log"))
            base = base if predictions else moves[log]
        _rename_all(moves)
        self.path = base
        self.files += targets

    def summarize(self, text: str, title: str) -> JobSummary:
        """Return a summary of the result for the person; for a training it also writes the page with the loss curves.

        Args:
            text: how the job ended, in one sentence.
            title: the title of the page with the loss curves.
        """
        if self.options.kind is JobKind.TRACK:
            return JobSummary(text, self.path.parent if self.unpacked else None, files=tuple(self.files))
        if not self.unpacked:
            return JobSummary(text)
        report = self._write_report(title)
        files = (*self.files, report) if report is not None else tuple(self.files)
        found = {one.model: Losses(one.train, one.val) for one in self._final_losses()}
        names = tuple(folder.name for folder in self.models)
        losses = tuple(found.get(name, Losses(None, None)) for name in names)
        return JobSummary(text, self.path, names, losses, files)

    def _warn(self, text: str) -> None:
        self.warning = f"{self.warning} {text}".strip()

    def _final_losses(self) -> tuple[ModelLosses, ...]:
        """Return the final losses; a failure only sets `warning`, as the result is complete without them."""
        try:
            return final_losses(self.path)
        except OSError as error:
            self._warn(f"The losses of the models could not be read ({error.strerror}).")
        return ()

    def _write_report(self, title: str) -> Path | None:
        """Write the page with the loss curves; a failure only sets `warning`, as the result is complete without it."""
        try:
            return write_report(self.path, title)
        except OSError as error:
            self._warn(f"The page with the loss curves could not be written ({error.strerror}).")
        return None


def _distinct_names(files: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a name for each file: its own name, or its joined path (`a-pred.slp`) where several have the same name.

    Args:
        files: relative paths, as parts.
    """
    shared = Counter(parts[-1].casefold() for parts in files)
    used = UsedNames()
    names = (parts[-1] if shared[parts[-1].casefold()] == 1 else "-".join(parts) for parts in files)
    return [used.choose(name, PREDICTIONS if name.endswith(PREDICTIONS) else LABELS_ENDING) for name in names]


def _target_paths(base: Path, names: Sequence[str]) -> list[Path]:
    """Return a path for each file: `base` for a single file; otherwise files beside `base` that start with its stem."""
    return [base] if len(names) == 1 else [base.with_name(f"{base.stem}.{name}") for name in names]


def _free_path(path: Path) -> Path:
    """Return the path, or the first one with a number that does not exist yet."""
    return next(candidate for candidate in _numbered_paths(path) if not _exists(candidate))


def _numbered_paths(path: Path) -> Iterator[Path]:
    """Yield the path, and then endlessly the path with a number before its ending, from 2 on."""
    yield path
    ending = PREDICTIONS if path.name.endswith(PREDICTIONS) else path.suffix
    for number in count(2):
        yield path.with_name(f"{path.name.removesuffix(ending)}-{number}{ending}")


def _exists(path: Path) -> bool:
    """Return whether anything has this path, a broken symbolic link included."""
    return path.exists() or path.is_symlink()


def _rename_all(moves: Mapping[Path, Path]) -> None:
    """Rename each file from its key to its value in `moves`; all of them or none.

    Raises:
        OSError: a file could not be renamed; the files renamed before it are deleted.
    """
    moved: list[Path] = []
    try:
        for source, target in moves.items():
            moved.append(source.rename(target))
    except OSError:
        for target in moved:
            target.unlink()
        raise


def _find_predictions(folder: Path) -> list[Path]:
    """Return the files of predictions, without those that sleap-nn writes beside each model (below `models`)."""
    return [path for path in _find_labels(folder) if path.relative_to(folder).parts[0] != "models"]


def _find_labels_of_models(folder: Path) -> list[Path]:
    """Return the labels and predictions that sleap-nn writes beside each model, to compare them."""
    return [path for path in _find_labels(folder) if path.relative_to(folder).parts[0] == "models"]


def _find_labels(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.slp") if path.is_file() and not path.is_symlink())


def _find_configs(folder: Path) -> list[Path]:
    """Return the configurations that sleap-nn has written, in the order in which their models are trained."""
    found = (path for path in folder.glob("*.yaml") if path.is_file() and not path.is_symlink())
    return sorted(found, key=lambda path: (not path.name.startswith(TRAINED_FIRST), path.name))


def choose_result_folder(options: ClientOptions) -> ResultFolder:
    """Choose the path of the result; a client that fetches no result gets the current folder.

    Raises:
        RtcError: USAGE: the path that `--output` names exists already, or cannot be written.
    """
    return ResultFolder(options, _choose_path(options) if options.fetch else Path.cwd())


def _choose_path(options: ClientOptions) -> Path:
    """Return the path for the result: of a folder for a training, of a file for predictions."""
    if options.kind is JobKind.TRAIN:
        return choose_output_folder(options.package, options.output)
    return _choose_predictions_file(options)


def _choose_predictions_file(options: ClientOptions) -> Path:
    """Return the path for predictions: that of `--output`, or one in the current folder, named after the package.

    Raises:
        RtcError: USAGE: the file exists already, or cannot be written.
    """
    name = f"{options.package.name.removesuffix('.zip').removesuffix(PREDICTIONS) or 'result'}{PREDICTIONS}"
    try:
        path = (
            _free_path(Path.cwd() / name)
            if options.output is None
            else _requested_file(options.output.absolute(), name)
        )
    except OSError as error:  # a name too long
        text = f"The predictions cannot be written there: {error.strerror}. Name another file with --output."
        raise RtcError(FaultCode.USAGE, text) from None
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise RtcError(FaultCode.USAGE, f"{path.name} cannot be written there. Name another place with --output.")
    return path


def _requested_file(output: Path, name: str) -> Path:
    """Return and check the file that `--output` names; in a folder it is called `name`.

    Raises:
        RtcError: USAGE: it does not end in .slp, or exists already.
    """
    path = output / name if output.is_dir() else output
    if path.suffix.lower() != LABELS_ENDING:
        text = f"A file for predictions ends in .slp, and {path.name} does not. Name one, or a folder, with --output."
        raise RtcError(FaultCode.USAGE, text)
    if _exists(path):
        raise RtcError(FaultCode.USAGE, f"{path.name} is there already. Name another file with --output.")
    return path
