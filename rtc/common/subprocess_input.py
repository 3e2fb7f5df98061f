"""A text for the standard input of a subprocess, however long it is and however slowly the subprocess starts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def open_input(text: str) -> Iterator[BinaryIO]:
    """Give a file from which a subprocess reads a text.

    It is no pipe: after a time-out, `Popen.communicate` writes no more of its input (Python 3.11), so that a subprocess
    which starts slowly would wait for the rest of a long text for ever.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file
