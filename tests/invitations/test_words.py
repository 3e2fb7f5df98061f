"""The words of short codes: no two look or sound alike, and a few letters name one."""

import re
from collections import defaultdict
from itertools import combinations

from rtc.invitations.short_code import distance
from rtc.invitations.words import WORDS

# Each rule makes one spelling of all spellings with one sound. Sounds that speakers of German or Japanese mix up count
# as one: l and r, v and b, th and s. Vowels count only at the beginning, and all alike.
SOUND_RULES = (
    (r"^[gkp]n", "n"),
    (r"^wr", "r"),
    (r"^ps|^x", "s"),
    (r"ph|gh(?=$|[^aeiou])", "f"),
    (r"[ck]?qu", "kw"),
    (r"tch|sch|ch|sh", "X"),
    (r"th", "s"),
    (r"c(?=[eiy])|z", "s"),
    (r"g(?=[eiy])|dg", "j"),
    (r"ck|c|q|gh", "k"),
    (r"x", "ks"),
    (r"wh", "w"),
    (r"rh|l", "r"),
    (r"mb$", "m"),
    (r"v", "b"),
    (r"^[aeiou]", "A"),
    (r"[aeiouyh]", ""),
    (r"(.)\1+", r"\1"),
)


def sound(word: str) -> str:
    for spelling, letter in SOUND_RULES:
        word = re.sub(spelling, letter, word)
    return word


def test_the_list_has_1024_plain_words_in_order() -> None:
    assert len(WORDS) == 1024
    assert list(WORDS) == sorted(set(WORDS))
    assert all(re.fullmatch("[a-z]{4,8}", word) for word in WORDS)


def test_four_letters_name_a_word() -> None:
    """So Tab needs no more, and no word begins with another one."""
    assert len({word[:4] for word in WORDS}) == len(WORDS)


def shortened(word: str) -> set[str]:
    """The word, and all that is left of it without one or two of its letters."""
    once = {word[:at] + word[at + 1 :] for at in range(len(word))}
    return {word} | once | {less[:at] + less[at + 1 :] for less in once for at in range(len(less))}


def test_no_two_words_look_alike() -> None:
    """At three letters apart, a slip of one letter leaves one nearest word."""
    sharing: dict[str, set[str]] = defaultdict(set)
    for word in WORDS:
        for less in shortened(word):
            sharing[less].add(word)  # two words at distance 1 or 2 share one
    pairs = {pair for words in sharing.values() for pair in combinations(sorted(words), 2)}
    assert pairs, "it compares something"
    assert [pair for pair in pairs if distance(*pair) < 3] == []


def test_no_two_words_sound_alike() -> None:
    sounds: dict[str, str] = {}
    alike = [(word, other) for word in WORDS if (other := sounds.setdefault(sound(word), word)) != word]
    assert alike == []
