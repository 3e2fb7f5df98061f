"""A folder of images as data to predict on: which of its files are its frames, in which order, and how they are packed.

The frames are those that sleap-nn itself takes, through sleap-io, and in the same order (`IMAGE_ENDINGS`).
"""

from collections.abc import Sequence
from pathlib import Path

from protocol.faults import FaultCode
from rtc.client.package_builder.contents import PackageContents
from rtc.common.errors import RtcError
from rtc.packages.file_names import collision_key, plain_file
from rtc.packages.inference import LABELS_ENDING, VIDEO_ENDINGS
from rtc.packages.member_names import IMAGE_ENDINGS, is_ignored
from rtc.packages.zip_reader import MEMBERS_MAX

IMAGES_MAX = MEMBERS_MAX - 500
"""Maximum number of images; a package holds models and scripts too."""
_NAMED_MAX = 3
"""Maximum number of other files that the error text about a folder without images names."""


def find_images(folder: Path) -> tuple[Path, ...]:
    """Return the images in a folder in the order of the frames: sorted by name, character by character.

    sleap-io takes only endings in small letters. Where there are none, images whose endings are in capitals (`.JPG`)
    are taken; they are packed with small ones.

    Raises:
        RtcError: USAGE: there are no images, too many, or the folder cannot be read.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not is_ignored(path.name))
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"{folder.name} cannot be opened: {error.strerror}.") from None
    images = [path for path in files if path.suffix in IMAGE_ENDINGS]
    images = images or [path for path in files if path.suffix.lower() in IMAGE_ENDINGS]
    if not images:
        raise RtcError(FaultCode.USAGE, _no_images(folder, files))
    if len(images) > IMAGES_MAX:
        text = f"{folder.name} holds {len(images)} images; a package has room for {IMAGES_MAX}. Make several folders."
        raise RtcError(FaultCode.USAGE, text)
    return tuple(images)


def left_out(folder: Path, images: Sequence[Path]) -> str | None:
    """Return a sentence about images of a folder that are no frames because of capitals in their endings, or None."""
    taken = set(images)
    others = (path for path in folder.iterdir() if path not in taken and not is_ignored(path.name))
    number = sum(path.suffix.lower() in IMAGE_ENDINGS for path in others)
    if not number:
        return None
    return f"Left out of {folder.name}, as in sleap-nn: images whose endings are in capitals, {number} in number"


def _no_images(folder: Path, files: Sequence[Path]) -> str:
    data = [path.name for path in files if path.suffix.lower() in (LABELS_ENDING, *VIDEO_ENDINGS)][:_NAMED_MAX]
    known = ", ".join(IMAGE_ENDINGS)
    hint = f"Name one of its files: {', '.join(data)}." if data else "Name a folder of images, a video, or labels."
    return f"The folder {folder.name or folder} holds no images ({known}). {hint}"


def add_images(contents: PackageContents, folder: Path, images: Sequence[Path]) -> str:
    """Add the images of a folder to a package; return the name of the folder there.

    Names are made plain only as far as the order of the frames stays as it is; otherwise the images are numbered.
    """
    names = [plain_file(path.stem + path.suffix.lower(), "image") for path in images]
    if names != sorted(names) or len({collision_key(name) for name in names}) < len(names):
        width = len(str(len(images)))
        names = [f"{number:0{width}}{path.suffix.lower()}" for number, path in enumerate(images)]
    return contents.add_folder(folder.resolve().name, dict(zip(images, names, strict=True)))
