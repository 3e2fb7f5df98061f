"""Where the result of a job goes on the client, and what is made of it there.

A training fills a folder; predictions are files that the person names. Nothing that is there already is overwritten.
"""

import errno
import os
import shutil
from pathlib import Path

from attrs import define, field

from protocol.faults import FaultCode
from protocol.jobs import JobKind
from rtc.app.order import ClientOrder
from rtc.aside import aside_name
from rtc.errors import RtcError
from rtc.jobs.launcher import LOG_NAME
from rtc.jobs.results import choose_output, final_losses, unpack_results
from rtc.report import write_report
from rtc.view.base import Ending, Losses

PREDICTIONS = ".predictions.slp"


@define
class Home:
    """Where one result goes."""

    order: ClientOrder
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
        self.place = _choose(self.order)

    async def take_in(self, archive: Path) -> None:
        """Unpack the result into its place, whole or not at all.

        Raises:
            RtcError: BAD_PACKAGE, DISK_FULL, or USAGE when the place was taken meanwhile.
            OSError: the disk is full, or worse.
        """
        if self.order.kind is JobKind.TRAIN:
            self.models = await unpack_results(archive, self.place)
            self.files = _predictions(self.place)
        else:
            folder = self.parent / aside_name()
            await unpack_results(archive, folder)
            self._place_predictions(folder)
        self.filled = True

    def _place_predictions(self, folder: Path) -> None:
        """Give predictions the person's name, and the log one beside it, which is all there is of a job that failed."""
        made = _predictions(folder)
        for path in made:
            target = self.place if len(made) == 1 else self.place.with_name(f"{self.place.stem}.{path.name}")
            if target.exists():
                raise FileExistsError(errno.EEXIST, f"{target.name} is there already")
            self.files.append(path.rename(target))
        log = folder / LOG_NAME
        if log.is_file():
            target = _free(self.place.with_suffix(".log"))
            log.rename(target)
            self.place = self.place if made else target
        shutil.rmtree(folder, ignore_errors=True)

    def ending(self, text: str, title: str) -> Ending:
        """What is here, for the person; a training gets its page with the loss curves."""
        if self.order.kind is JobKind.TRACK:
            return Ending(text, self.place.parent if self.filled else None, files=tuple(self.files))
        if not self.filled:
            return Ending(text)
        report = self._report(title)
        files = (*self.files, report) if report is not None else tuple(self.files)
        found = {one.model: Losses(one.train, one.val) for one in final_losses(self.place)}
        names = tuple(folder.name for folder in self.models)
        losses = tuple(found.get(name, Losses(None, None)) for name in names)
        return Ending(text, self.place, names, losses, files)

    def _report(self, title: str) -> Path | None:
        """The page with the loss curves; the result is as good without it."""
        try:
            return write_report(self.place, title)
        except OSError as error:
            self.trouble = f"The page with the loss curves could not be written ({error.strerror})."
        return None


def _free(path: Path) -> Path:
    """This name, or the next one that is not taken."""
    candidate, count = path, 2
    while candidate.exists() or candidate.is_symlink():
        candidate, count = path.with_name(f"{path.stem}-{count}{path.suffix}"), count + 1
    return candidate


def _predictions(folder: Path) -> list[Path]:
    """Files of predictions; those that sleap-nn writes beside each model are not meant."""
    found = (path for path in folder.rglob("*.slp") if path.relative_to(folder).parts[0] != "models")
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def choose_home(order: ClientOrder) -> Home:
    """Where the result will go.

    Raises:
        RtcError: USAGE: it is taken, or cannot be written.
    """
    return Home(order, _choose(order) if order.fetch else Path.cwd())


def _choose(order: ClientOrder) -> Path:
    if order.kind is JobKind.TRAIN:
        return choose_output(order.package, order.output)
    return _choose_file(order)


def _choose_file(order: ClientOrder) -> Path:
    """The file for predictions."""
    if order.output is not None:
        place = order.output.absolute()
        place = place / _file_name(order.package) if place.is_dir() else place
    else:
        place = Path.cwd() / _file_name(order.package)
        count = 2
        while place.exists():
            place, count = place.with_name(f"{_stem(order.package)}-{count}{PREDICTIONS}"), count + 1
    if place.exists() or place.is_symlink():
        raise RtcError(FaultCode.USAGE, f"{place.name} is there already. Name another file with --output.")
    if not place.parent.is_dir() or not os.access(place.parent, os.W_OK | os.X_OK):
        raise RtcError(FaultCode.USAGE, f"{place.name} cannot be written there. Name another place with --output.")
    return place


def _stem(package: Path) -> str:
    return package.name.removesuffix(".zip").removesuffix(PREDICTIONS) or "result"


def _file_name(package: Path) -> str:
    return f"{_stem(package)}{PREDICTIONS}"
