"""A file that is read with some of its bytes left out: those are read as zeros, and its end is another one.

Nothing is copied: the edit takes as much memory as the new end, however large the file is.
"""

import os
from typing import BinaryIO

from attrs import frozen


@frozen
class FileEdit:
    """What is read in place of a file's own bytes."""

    zeros: tuple[tuple[int, int], ...]
    """Ranges that are read as zeros: the offsets of the first byte and of the byte after the last."""
    end: int
    """The offset at which the file's own bytes end."""
    ending: bytes
    """What is read after `end`, in place of the rest of the file."""

    @property
    def size(self) -> int:
        """The number of bytes that are read in all."""
        return self.end + len(self.ending)

    def read(self, file: BinaryIO, offset: int, max_bytes: int) -> bytes:
        """Return up to `max_bytes` bytes of the edited file from an offset; none at its end, or if the file has none.

        Raises:
            OSError: the file cannot be read.
        """
        if offset >= self.end:
            return self.ending[offset - self.end : offset - self.end + max_bytes]
        file.seek(offset, os.SEEK_SET)
        block = bytearray(file.read(min(max_bytes, self.end - offset)))
        for start, end in self.zeros:
            first, last = max(start - offset, 0), min(end - offset, len(block))
            if first < last:
                block[first:last] = bytes(last - first)
        return bytes(block)
