"""Writes a small file completely or not at all, so that nobody reads half of it, also after a power failure."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_whole_file(path: Path, text: str) -> None:
    """Write a text file of mode 0600; a file that is there already is replaced when all of the text is on the disk.

    Raises:
        OSError: it cannot be written; the folder is as it was before.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".sleap-rtc-", suffix=path.suffix)  # mode 0600
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
