"""Short codes as `7-tulip-otter-radio`: a number that the server has chosen, and three words that only people know.

Whatever separates the words does not matter, nor does case; what an input method for Japanese writes (full-width
letters and digits, its hyphens and spaces) is read as well. A misspelled code is answered with the nearest words of the
list and never sent, so that a slip of the finger does not cost the code.
"""

import re
import secrets
import string
import unicodedata

from attrs import Attribute, field, frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.logs import hide_in_logs
from rtc.common.sizes import count
from rtc.invitations.words import WORDS

WORD_COUNT = 3
"""Words of a code, with 30 bits of entropy. A code is good for one guess: of 10**9 guesses one succeeds."""
NUMBER_MAX = 999_999
"""The highest number of a code. The server chooses the lowest one that is free."""
TYPED_MAX = 200
"""Characters of the longest text that is read as a code; a code itself has 33 at most."""
NEAREST_MAX = 3
"""Words that are offered in place of a misspelled one, at most; also the letters in which they may differ from it."""
EXAMPLE = "7-tulip-otter-radio"
_START = 4
"""Letters at the beginning of a word that no other word shares."""
_BY_START = {word[:_START]: word for word in WORDS}
_SOUND_MARK = "\u30fc"
"""The prolonged sound mark of Japanese, a letter by its Unicode category; input methods write it for a hyphen."""
_GERMAN_HYPHEN = str.maketrans("\u00df\u1e9e", "--")
"""Sharp s, the letter that a German keyboard writes with the key of the hyphen on others; no word has it."""
_HALF_SOUND_MARK = "\uff70"
"""The same in half width, as NFKC finds it."""


def _check_number(_code: object, _field: "Attribute[int]", number: int) -> None:
    if not 1 <= number <= NUMBER_MAX:
        raise ValueError("this is not the number of a code")


def _check_words(_code: object, _field: "Attribute[tuple[str, ...]]", words: tuple[str, ...]) -> None:
    if len(words) != WORD_COUNT or not set(words) <= set(WORDS):
        raise ValueError("these are not the words of a code")


@frozen
class ShortCode:
    """One code. `str` gives the form that people see, which is also the one that both ends compute with."""

    number: int = field(validator=_check_number)
    """Names the invitation to the server; no secret."""
    words: tuple[str, ...] = field(validator=_check_words, repr=False)
    """The secret: `WORD_COUNT` words of the list."""

    def __str__(self) -> str:
        return "-".join([str(self.number), *self.words])


def make_code(number: int) -> ShortCode:
    """Return a code with this number and words chosen by chance; the code is hidden in the log from now on.

    Args:
        number: the number that the server has chosen, from 1 to `NUMBER_MAX`.
    """
    return _hidden(ShortCode(number, tuple(secrets.choice(WORDS) for _ in range(WORD_COUNT))))


def read_code(text: str) -> ShortCode:
    """Return the code that a person has typed; it is hidden in the log from now on.

    Raises:
        RtcError: USAGE: it is no code. The sentence says what is wrong, and of a misspelled word the nearest ones.
    """
    if len(text) > TYPED_MAX:
        raise _no_code("This is too long for a code")
    number, rest = _parts(_plain(text))
    if rest and not any(letter in string.ascii_lowercase for letter in rest):
        raise _no_code("A code is made of digits and the letters a to z: switch the keyboard to them")
    if not number:
        raise _no_code("The number at the beginning of the code is missing")
    if any(letter in string.digits for letter in rest):
        raise _no_code("A code has only one number, at its beginning")
    if not 1 <= int(number) <= NUMBER_MAX:
        raise _no_code("No code has this number")
    return _hidden(ShortCode(int(number), _find_words(rest.split())))


def looks_like_code(text: str) -> bool:
    """Return whether a person who typed this meant a code, perhaps with mistakes; never true for a session string."""
    number, rest = _parts(_plain(text[:TYPED_MAX]))
    return bool(number) or not text.isascii() or any(piece in WORDS for piece in rest.split())


def complete(text: str) -> list[str]:
    """Return all texts that begin as `text` does and end with a whole word of the list; for Tab.

    There is none if no letter of the word has been typed, or if the code has all its words already.
    """
    before = re.sub(rf"[^\W\d_{_SOUND_MARK}{_HALF_SOUND_MARK}]*\Z", "", text) if len(text) <= TYPED_MAX else text
    beginning = _plain(text[len(before) :])
    if not beginning or len(_parts(_plain(before))[1].split()) >= WORD_COUNT:
        return []
    return [before + word for word in WORDS if word.startswith(beginning)]


def _hidden(code: ShortCode) -> ShortCode:
    hide_in_logs(str(code))
    return code


def _plain(text: str) -> str:
    """Return a typed text in lower case, with a space for each character that is neither a letter nor a digit.

    Full-width letters and digits become ASCII; letters of other alphabets are kept.
    """
    folded = unicodedata.normalize("NFKC", text.translate(_GERMAN_HYPHEN)).casefold()
    digits = "".join(str(unicodedata.decimal(one, one)) for one in folded)
    return "".join(one if one.isalnum() and one != _SOUND_MARK else " " for one in digits).strip()


def _parts(plain: str) -> tuple[str, str]:
    """Return the digits at the beginning, and all that follows them."""
    rest = plain.lstrip(string.digits)
    return plain.removesuffix(rest), rest


def _find_words(pieces: list[str]) -> tuple[str, ...]:
    """Return the words that these pieces make when they are read as one, wherever the person has put spaces.

    Raises:
        RtcError: USAGE: they are not `WORD_COUNT` words of the list.
    """
    words, rest = _split("".join(pieces))
    if not rest and len(words) == WORD_COUNT:
        return words
    wrong = {piece: _split(piece)[1] for piece in pieces if piece not in WORDS}
    unknown = list(wrong) if len(pieces) == WORD_COUNT else [rest for rest in wrong.values() if rest]
    if unknown:
        raise _no_code(". ".join(_misspelled(one) for one in unknown[:WORD_COUNT]))
    raise _no_code(f"A code has {WORD_COUNT} words, and this one has {count(len(words), 'word')}")


def _split(letters: str) -> tuple[tuple[str, ...], str]:
    """Return the words at the beginning of the letters, and what follows them.

    There is one way only: no word begins with another one.
    """
    words: list[str] = []
    while (word := _BY_START.get(letters[:_START])) and letters.startswith(word):
        words.append(word)
        letters = letters.removeprefix(word)
    return tuple(words), letters


def _misspelled(letters: str) -> str:
    """Return a sentence on letters that do not begin with a word of the list, without its full stop."""
    distances = {word: _distance_at_start(word, letters) for word in WORDS}
    least = min(distances.values())
    nearest = [repr(word) for word, distance in distances.items() if distance == least]
    shown = f"{letters[:20]}…" if len(letters) > 20 else letters
    if least > NEAREST_MAX or len(nearest) > NEAREST_MAX:
        return f"{shown!r} is no word of a code"
    return f"{shown!r} is no word of a code; near it: {', '.join(nearest)}"


def _distance_at_start(word: str, letters: str) -> int:
    """Return in how many letters a word differs from the letters as they begin.

    All letters count unless there are so many that another word must follow.
    """
    if len(letters) <= len(word) + NEAREST_MAX:
        return distance(word, letters)
    return min(distance(word, letters[: len(word) + more]) for more in (-1, 0, 1))


def distance(one: str, two: str) -> int:
    """Return how many letters must be inserted, removed or replaced to make one text of the other (Levenshtein)."""
    above = list(range(len(two) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, other in enumerate(two, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (letter != other)))
        above = line
    return above[-1]


def _no_code(problem: str) -> RtcError:
    return RtcError(FaultCode.USAGE, f"{problem}. A code looks like {EXAMPLE}.")
