"""Where the result of a job goes on the client, and what is made of it there.

A training fills a folder; predictions are files that the person names. Nothing that is there already is overwritten.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from attrs import define, field

from protocol.faults import FaultCode
from protocol.jobs import JobKind
from rtc.client.options import ClientOptions
from rtc.client.report import write_report
from rtc.client.unpack_results import choose_output, final_losses, unpack_results
from rtc.common.errors import RtcError
from rtc.common.job_result import LOG_NAME
from rtc.common.scratch_dirs import aside_name
from rtc.packages.file_names import fresh
from rtc.packages.inference import LABELS_ENDING
from rtc.terminal.interface import JobSummary, Losses

PREDICTIONS = ".predictions.slp"


@define
class ResultFolder:
    """Where one result goes."""

    options: ClientOptions
    place: Path
    """The folder, or for predictions the file; as chosen before anything was sent."""
    filled: bool = False
    """Something has come."""
    models: tuple[Path, ...] = ()
    """Folders of models, relative to `place`."""
    files: list[Path] = field(factory=list)
    """Predictions."""
    trouble: str = ""
    """What went wrong beside the result itself."""

    @property
    def parent(self) -> Path:
        """A folder beside the place, for what is on its way."""
        return self.place.parent

    @property
    def kept(self) -> Path:
        """Where an archive is put that cannot be unpacked."""
        return self.place.with_name(f"{self.place.name}.results.zip")

    def choose_again(self) -> None:
        """The result is here; somebody may have taken the place meanwhile."""
        self.place = _choose(self.options)

    async def take_in(self, archive: Path) -> None:
        """Unpack the result into its place, whole or not at all.

        Raises:
            RtcError: BAD_PACKAGE, DISK_FULL, or USAGE when the place was taken meanwhile.
            OSError: the disk is full, or worse.
        """
        if self.options.kind is JobKind.TRAIN:
            self.models = await unpack_results(archive, self.place)
            self.files = _predictions(self.place)
        else:
            folder = self.parent / aside_name()
            try:
                await unpack_results(archive, folder)
                self._place_predictions(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        self.filled = True

    def _place_predictions(self, folder: Path) -> None:
        """Give predictions the person's name, and the log one beside it, which is all there is of a job that failed."""
        made = _predictions(folder)
        names = _apart([path.relative_to(folder).parts for path in made])
        place = next(place for place in _numbered(self.place) if not any(map(_taken, _targets(place, names))))
        targets = _targets(place, names)
        moves = dict(zip(made, targets, strict=True))
        log = folder / LOG_NAME
        if log.is_file():
            moves[log] = _free(place.with_suffix(".log"))
            place = place if made else moves[log]
        _move(moves)
        self.place = place
        self.files += targets

    def ending(self, text: str, title: str) -> JobSummary:
        """What is here, for the person; a training gets its page with the loss curves."""
        if self.options.kind is JobKind.TRACK:
            return JobSummary(text, self.place.parent if self.filled else None, files=tuple(self.files))
        if not self.filled:
            return JobSummary(text)
        report = self._report(title)
        files = (*self.files, report) if report is not None else tuple(self.files)
        found = {one.model: Losses(one.train, one.val) for one in final_losses(self.place)}
        names = tuple(folder.name for folder in self.models)
        losses = tuple(found.get(name, Losses(None, None)) for name in names)
        return JobSummary(text, self.place, names, losses, files)

    def _report(self, title: str) -> Path | None:
        """The page with the loss curves; the result is as good without it."""
        try:
            return write_report(self.place, title)
        except OSError as error:
            self.trouble = f"The page with the loss curves could not be written ({error.strerror})."
        return None


def _apart(files: Sequence[tuple[str, ...]]) -> list[str]:
    """A name for each of these files: its own, or with its folder's where others have the same."""
    shared = Counter(parts[-1].casefold() for parts in files)
    names: list[str] = []
    for parts in files:
        name = parts[-1] if shared[parts[-1].casefold()] == 1 else "-".join(parts)
        names.append(fresh(name, names, PREDICTIONS if name.endswith(PREDICTIONS) else LABELS_ENDING))
    return names


def _targets(place: Path, names: Sequence[str]) -> list[Path]:
    """Where these files go: one to the place, several beside it."""
    return [place] if len(names) == 1 else [place.with_name(f"{place.stem}.{name}") for name in names]


def _free(path: Path) -> Path:
    """This name, or the next one that is not taken."""
    return next(candidate for candidate in _numbered(path) if not _taken(candidate))


def _numbered(path: Path) -> Iterator[Path]:
    """This name, and without end the same with a number before its ending."""
    yield path
    ending = PREDICTIONS if path.name.endswith(PREDICTIONS) else path.suffix
    for number in count(2):
        yield path.with_name(f"{path.name.removesuffix(ending)}-{number}{ending}")


def _taken(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _move(moves: Mapping[Path, Path]) -> None:
    """Move all of them, or none."""
    moved: list[Path] = []
    try:
        for source, target in moves.items():
            moved.append(source.rename(target))
    except OSError:
        for target in moved:
            target.unlink()
        raise


def _predictions(folder: Path) -> list[Path]:
    """Files of predictions; those that sleap-nn writes beside each model are not meant."""
    found = (path for path in folder.rglob("*.slp") if path.relative_to(folder).parts[0] != "models")
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def choose_result_folder(options: ClientOptions) -> ResultFolder:
    """Where the result will go.

    Raises:
        RtcError: USAGE: it is taken, or cannot be written.
    """
    return ResultFolder(options, _choose(options) if options.fetch else Path.cwd())


def _choose(options: ClientOptions) -> Path:
    if options.kind is JobKind.TRAIN:
        return choose_output(options.package, options.output)
    return _choose_file(options)


def _choose_file(options: ClientOptions) -> Path:
    """The file for predictions."""
    name = f"{options.package.name.removesuffix('.zip').removesuffix(PREDICTIONS) or 'result'}{PREDICTIONS}"
    try:
        place = _free(Path.cwd() / name) if options.output is None else _asked_for(options.output.absolute(), name)
    except OSError as error:  # a name too long
        text = f"The predictions cannot be written there: {error.strerror}. Name another file with --output."
        raise RtcError(FaultCode.USAGE, text) from None
    if not place.parent.is_dir() or not os.access(place.parent, os.W_OK | os.X_OK):
        raise RtcError(FaultCode.USAGE, f"{place.name} cannot be written there. Name another place with --output.")
    return place


def _asked_for(output: Path, name: str) -> Path:
    """The file that the person names, or one of this name in a folder of theirs."""
    place = output / name if output.is_dir() else output
    if place.suffix.lower() != LABELS_ENDING:
        text = f"A file for predictions ends in .slp, and {place.name} does not. Name one, or a folder, with --output."
        raise RtcError(FaultCode.USAGE, text)
    if _taken(place):
        raise RtcError(FaultCode.USAGE, f"{place.name} is there already. Name another file with --output.")
    return place
