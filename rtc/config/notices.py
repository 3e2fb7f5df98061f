"""Remembers which sentences a person has been told, so that each is told once and not at every start."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import evolve, field, frozen

from protocol.converter import WireError, from_json, to_json
from protocol.fields import FreeText, MaxItems
from rtc.common.private_folder import make_private_folder
from rtc.common.whole_file import read_small_file, write_whole_file

Say = Callable[[str], None]
"""Prints one sentence for the person."""
FILE_MAX = 256 * 1024
"""Bytes that are read of the file; ours are shorter."""
TEXT_MAX = 20_000
"""Characters; a path has at most 4096 bytes on Linux, and 2**15 characters on Windows."""
NOTICES_MAX = 50
"""Sentences that are remembered; the oldest are forgotten first, and told again."""


@frozen
class Notice:
    """One sentence that was told."""

    about: str = field(validator=FreeText(TEXT_MAX))
    """What it is about; of the sentences about one thing, the last one is remembered."""
    text: str = field(validator=FreeText(TEXT_MAX))


@frozen
class NoticesJson:
    """The content of the file."""

    said: tuple[Notice, ...] = field(default=(), validator=MaxItems(NOTICES_MAX))


@frozen
class Notices:
    """The file with the sentences that were told. Where it cannot be written, they are told each time."""

    path: Path
    say: Say

    def once(self, about: str, text: str) -> None:
        """Tell a sentence, unless it is the last one that was told about this."""
        content = self._read()
        if any((notice.about, notice.text) == (about, text) for notice in content.said):
            return
        self.say(text)
        others = self._without(content, about).said
        self._write(evolve(content, said=(*others, Notice(about, text))[-NOTICES_MAX:]))

    def over(self, about: str) -> None:
        """Forget what was told about something that is as it should be again."""
        content = self._read()
        if any(notice.about == about for notice in content.said):
            self._write(self._without(content, about))

    def _without(self, content: NoticesJson, about: str) -> NoticesJson:
        return evolve(content, said=tuple(notice for notice in content.said if notice.about != about))

    def _read(self) -> NoticesJson:
        with suppress(OSError, WireError):
            content: NoticesJson = from_json(read_small_file(self.path, FILE_MAX + 1), NoticesJson, limit=FILE_MAX)
            return content
        return NoticesJson()

    def _write(self, content: NoticesJson) -> None:
        with suppress(OSError, ValueError):
            make_private_folder(self.path.parent)
            write_whole_file(self.path, to_json(content) + "\n")
