"""Decodes the texts of packages, whichever program on whichever system wrote them.

Python on Windows writes files in the code page of the system, editors add byte order marks, and PowerShell writes
UTF-16. A code page cannot be told from the bytes for certain. What counts in these texts are names of files in the
package, so the code page is taken in which most of these names occur.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from rtc.packages.foreign_errors import bad_package

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks (The Unicode Standard, section 23.8)."""
CODE_PAGES = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("cp932", "gb18030", "cp949", "cp950", "big5hkscs", "euc_jp"),
    *("cp437", "cp850", "cp852", "cp855", "cp866", "cp737", "cp857", "cp862", "mac_roman"),
)
"""Code pages of Windows, of its console, and of older systems; where several fit alike, the first one is taken."""
_DOUBLE_BYTE = (
    ("cp932", rb"[\x81-\x84\x88-\x97][\x40-\x7e\x80-\xfc]", 1),
    ("gb18030", rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]", 2),
    ("cp950", rb"[\xa1-\xc6][\x40-\x7e\xa1-\xfe]", 2),
)
"""Code pages with two bytes for each character, their common characters, and how many of these in a row show that a
text is in it. The second byte may be that of a backslash, so a script that is read in another code page would mean
something else."""
_NAMES_MAX = 100
"""Maximum number of names that are looked for in a text."""
_UTF16_SAMPLE = 1024
"""Bytes at the beginning of a text in which UTF-16 without a mark is looked for."""


def decode_text(name: str, data: bytes, known_names: Callable[[], Iterable[str]] = tuple) -> str:
    """Decode a text in Unicode, with or without a byte order mark, or in the most likely code page.

    Args:
        name: names the file in the error.
        data: the bytes of the file.
        known_names: returns names that may occur in the text; called only if it is not in Unicode.

    Raises:
        RtcError: BAD_PACKAGE: it is no text.
    """
    text = _decode_unicode(data)
    if text is None:
        names = {_compared(known) for known in known_names() if not known.isascii()}
        text = _decode_code_page(data, sorted(names)[:_NAMES_MAX])
    if "\0" in text:
        raise bad_package(f"{name} is not plain text. Export the package again.")
    return text


def _decode_unicode(data: bytes) -> str | None:
    """Return the text, or None if it is in a code page."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    sample = data[:_UTF16_SAMPLE]
    for encoding, first in (("utf-16-le", 1), ("utf-16-be", 0)):
        zeros, others = sample[first::2].count(0), sample[1 - first :: 2].count(0)
        if zeros > len(sample) // 4 and not others:  # each character of ASCII has one byte that is zero
            return data.decode(encoding, errors="replace")
    with suppress(UnicodeDecodeError):
        return data.decode()
    return None


def _decode_code_page(data: bytes, known_names: list[str]) -> str:
    """Return the text in the code page in which most of the names occur, or in the most likely one."""
    best = max(_decodings(data), key=lambda text: _count_names(text, known_names))
    if _count_names(best, known_names):
        return best
    for encoding, pair, row in _DOUBLE_BYTE:
        if re.fullmatch(rb"(?:[\0-\x7f]|" + pair + rb")*+", data) and re.search(rb"(?:%s){%d}" % (pair, row), data):
            return data.decode(encoding, errors="replace")
    unicode = data.decode(errors="replace")
    broken, others = unicode.count("\ufffd"), sum(not char.isascii() for char in unicode)
    return unicode if others > 2 * broken else data.decode("cp1252", errors="replace")


def _decodings(data: bytes) -> Iterator[str]:
    """Yield the text as UTF-8 with some wrong bytes, and in each code page that has all of its bytes."""
    yield data.decode(errors="replace")
    for encoding in CODE_PAGES:
        with suppress(UnicodeDecodeError):
            yield data.decode(encoding)


def possible_texts(data: bytes) -> tuple[str, ...]:
    """Return all that the bytes of a text may mean: one text if it is in Unicode, else one for each code page."""
    text = _decode_unicode(data)
    return tuple(_decodings(data)) if text is None else (text,)


def _count_names(text: str, known_names: list[str]) -> int:
    compared = _compared(text)
    return sum(name in compared for name in known_names)


def _compared(text: str) -> str:
    return unicodedata.normalize("NFC", text)
