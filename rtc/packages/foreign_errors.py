"""Turns what libraries raise on hostile or damaged files into one RtcError. Every reader of foreign files uses it."""

import errno
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import BadZipFile

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

FOREIGN_ERRORS: tuple[type[Exception], ...] = (
    BadZipFile,
    zlib.error,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What `zipfile`, PyYAML, `json` and `csv` raise on texts and archives that they were not made for.

Their constructors trust what they read: `!!bool maybe` is a KeyError in PyYAML, `!!timestamp foo` an AttributeError;
many brackets are a RecursionError, encrypted files a RuntimeError, wrong bytes a UnicodeDecodeError, which is a
ValueError. A size that no memory has is a MemoryError, and one that no file can have an OverflowError.
"""
_IMPOSSIBLE_IN_A_FILE = (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EFBIG)
"""Errors of the system that the content of an archive causes: an offset that no file has, a name that none can have."""


def bad_package(text: str) -> RtcError:
    """Return the error BAD_PACKAGE with this sentence."""
    return RtcError(FaultCode.BAD_PACKAGE, text)


@contextmanager
def foreign_errors(sentence: str, *also: type[Exception]) -> Iterator[None]:
    """Turn each of `FOREIGN_ERRORS` of the body into BAD_PACKAGE with this sentence. Only one library runs in the body.

    Args:
        sentence: for people; it never holds the text of the exception, which may quote the file.
        also: further exceptions of the library.

    Raises:
        RtcError: BAD_PACKAGE.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _IMPOSSIBLE_IN_A_FILE:
            raise bad_package(sentence) from None
        raise
    except (*FOREIGN_ERRORS, *also):
        raise bad_package(sentence) from None
