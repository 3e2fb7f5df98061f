"""How an HDF5 file is recognised; SLEAP's projects (`.slp`) are such files."""

from pathlib import Path

HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of every HDF5 file (HDF5 File Format Specification, section II.A)."""


def is_hdf5(file: Path) -> bool:
    """Return whether a file can be read and begins as an HDF5 file."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(HDF5)) == HDF5
    except OSError:
        return False
