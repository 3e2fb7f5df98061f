"""Short codes: made, typed in many ways, misspelled, completed."""

import logging
from pathlib import Path

import pytest

from protocol.faults import FaultCode
from protocol.session_string import SessionString
from rtc.common.errors import RtcError
from rtc.common.logs import open_log
from rtc.invitations import short_code
from rtc.invitations.short_code import ShortCode, complete, looks_like_code, make_code, read_code
from rtc.invitations.words import WORDS

CODE = ShortCode(7, ("tulip", "otter", "radio"))


def sentence(typed: str) -> str:
    with pytest.raises(RtcError) as error:
        read_code(typed)
    assert error.value.fault.code is FaultCode.USAGE
    return error.value.fault.text


def test_a_code_is_a_number_and_three_words() -> None:
    assert str(CODE) == "7-tulip-otter-radio"
    assert read_code("7-tulip-otter-radio") == CODE


def test_a_new_code_has_words_chosen_by_chance() -> None:
    codes = {make_code(12) for _ in range(20)}
    assert len(codes) == 20, "30 bits: two equal ones of 20 come once in five million runs"
    assert all(read_code(str(code)) == code and code.number == 12 for code in codes)


def test_the_words_are_chosen_as_secrets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_code.secrets, "choice", lambda words: words[-1])
    assert make_code(1) == ShortCode(1, (WORDS[-1],) * 3)


@pytest.mark.parametrize(
    "typed",
    [
        " 7-tulip-otter-radio\n",
        "7 Tulip OTTER radio",
        "7tulipotterradio",
        "007-tulip-otter-radio",
        "7–tulip—otter−radio",  # what word processors make of hyphens
        "7_tulip.otter/radio",
        "“7-tulip-otter-radio”.",
        "7 tu lip ot ter radio",
        "7ßtulipẞotterßradio",  # a German keyboard, typed as if it were another one
        "７－ｔｕｌｉｐ－ｏｔｔｅｒ－ｒａｄｉｏ",  # full width
        "７　ｔｕｌｉｐ　ｏｔｔｅｒ　ｒａｄｉｏ",  # ideographic spaces
        "７ーｔｕｌｉｐーＯｔｔｅｒーradio",  # the prolonged sound mark
        "7ｰtulipｰotterｰradio",  # the half-width one
        "7・tulip・otter・radio",
        "7〜tulip゠otter‐radio",
        "7-tulip-\u200botter\u00ad-radio",  # invisible characters that came along when it was copied
        "٧-tulip-otter-radio",
    ],
)
def test_case_spaces_and_hyphens_do_not_matter(typed: str) -> None:
    assert read_code(typed) == CODE
    assert looks_like_code(typed)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("7-tulip-oter-radio", "'oter' is no word of a code; near it: 'otter'."),
        ("7-tulip-otter-radoi", "'radoi' is no word of a code; near it: 'radio'."),
        ("7-tülip-otter-radio", "'tülip' is no word of a code; near it: 'tulip'."),
        ("7tulipoterradio", "'oterradio' is no word of a code; near it: 'otter'."),
        ("7 tulip otterradoi", "'radoi' is no word of a code; near it: 'radio'."),
        ("7-tulipp-oter-radio", "'tulipp' is no word of a code; near it: 'tulip'. 'oter' is"),
        ("7-tulip-qqqqqqqq-radio", "'qqqqqqqq' is no word of a code. A code"),
        (f"7-tulip-otter-{'q' * 100}", f"'{'q' * 20}…' is no word of a code. A code"),
        ("7-tulip-otter", "A code has 3 words, and this one has 2 words"),
        ("7-tulip-otter-radio-tulip", "A code has 3 words, and this one has 4 words"),
        ("7", "A code has 3 words, and this one has 0 words"),
        ("7 つぃp", "'つぃp' is no word of a code"),
        ("7 つりっぷ", "switch the keyboard"),
        ("チューリップ", "switch the keyboard"),
        ("tulip-otter-radio", "The number at the beginning of the code is missing"),
        ("tulip-otter-radio-7", "The number at the beginning of the code is missing"),
        ("7-tulip-otter-radio-7", "only one number"),
        ("0-tulip-otter-radio", "No code has this number"),
        (f"{10**6}-tulip-otter-radio", "No code has this number"),
        ("", "The number at the beginning"),
        (f"7-tulip-otter-radio{' ' * 200}", "too long"),
    ],
)
def test_a_misspelled_code_is_answered_with_what_is_wrong(typed: str, answer: str) -> None:
    assert answer in sentence(typed)
    assert sentence(typed).endswith("A code looks like 7-tulip-otter-radio.")


def test_every_word_with_a_slip_of_one_letter_is_found_again() -> None:
    for word in WORDS[::100]:
        for typed in (word[:2] + word[3:], word[:2] + "q" + word[2:], word[:3] + "q" + word[4:]):
            assert f"near it: {word!r}." in sentence(f"7-{typed}-otter-radio")


def test_codes_are_told_from_session_strings() -> None:
    assert not looks_like_code(SessionString("room", "token", "peer").write())
    assert not looks_like_code("lab")
    assert looks_like_code("7")
    assert looks_like_code("tulip otter radio")
    assert looks_like_code("７ー")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("7-tul", ["7-tulip"]),
        ("7-tulip-ot", ["7-tulip-otter"]),
        ("7 tulip otter rad", ["7 tulip otter radio"]),
        ("ott", ["otter"]),
        ("7-TUL", ["7-tulip"]),
        ("７ーｔｕｌ", ["７ーtulip"]),
        ("7-tulip", ["7-tulip"]),
        ("7-", []),
        ("", []),
        ("7-qqq", []),
        ("7-tulip-otter-radio-tul", []),
        ("q" * 300, []),
    ],
)
def test_tab_completes_the_last_word(typed: str, completed: list[str]) -> None:
    assert complete(typed) == completed


def test_tab_offers_all_words_that_begin_so() -> None:
    assert complete("7-tu") == [f"7-{word}" for word in WORDS if word.startswith("tu")]
    assert len(complete("7-tu")) > 3


@pytest.mark.parametrize("words", [("tulip", "otter"), ("tulip", "otter", "radioo"), ("tulip",) * 4])
def test_no_other_words_make_a_code(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="words of a code"):
        ShortCode(7, words)


@pytest.mark.parametrize("number", [0, -1, 10**6])
def test_no_other_number_makes_a_code(number: int) -> None:
    with pytest.raises(ValueError, match="number of a code"):
        ShortCode(number, CODE.words)


def test_a_code_does_not_show_its_words_in_a_repr() -> None:
    assert "tulip" not in repr(CODE)


def test_a_code_is_in_no_log(tmp_path: Path) -> None:
    with open_log("join", tmp_path):
        made = make_code(4)
        logging.getLogger("test").info("made %s, typed %s", made, read_code("5 tulip otter radio"))
    assert "made [hidden], typed [hidden]" in (tmp_path / "join.log").read_text()
