"""The lines of `sleap-nn predict` become FramesDone: known fields, not too many, always with the end of a pass."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.jobs import FramesDone
from rtc.sleap_nn.predict_progress import FrameCounter

REAL = (
    b'{"n_processed": 4, "n_total": 16, "rate": 11.4, "eta": 1.1}',
    b'{"n_processed": 16, "n_total": 16, "rate": 38.1, "eta": 0.0}',
    b'{"n_processed": 1, "n_total": 16, "rate": 2.3, "eta": 6.5}',
    b'{"n_processed": 16, "n_total": 16, "rate": 34.3, "eta": 0.0}',
)
"""What sleap-nn 0.3.5 printed while tracking."""


@pytest.fixture
def said():
    return []


@pytest.fixture
def counter(said):
    return FrameCounter("j", 2, True, said.append)


def line(done, total=16, **more):
    return json.dumps({"n_processed": done, "n_total": total, "rate": 1.0, "eta": 2.0} | more).encode()


def test_tracking_goes_through_the_frames_in_two_passes(counter, said):
    assert all(counter.handle_line(raw, now) for now, raw in enumerate(REAL))
    counter.finish()
    assert said == [
        FramesDone("j", 2, 4, 16, 11.4, 1.1, 0),
        FramesDone("j", 2, 16, 16, 38.1, 0.0, 0),
        FramesDone("j", 2, 1, 16, 2.3, 6.5, 1),
        FramesDone("j", 2, 16, 16, 34.3, 0.0, 1),
    ]
    assert counter.predicted == 16


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from((10**9, 2**53, 10**400, -1, 1e300))


@given(st.lists(NUMBERS, min_size=4, max_size=4))
@example([10**9 - 1, 10**9, 0.0, 1e300])
@example([0, 0, 1e-308, 1e9])
def test_whatever_numbers_sleap_nn_prints_a_message_can_have_them_or_null(numbers):
    done, total, rate, left = numbers
    said = []
    taken = FrameCounter("j", 2, True, said.append).handle_line(line(done, total, rate=rate, eta=left), 0)
    assert len(said) == taken


def test_a_rate_of_nothing_is_null(counter, said):
    counter.handle_line(line(0, rate=0.0), 0)
    assert said == [FramesDone("j", 2, 0, 16, None, 2.0)]


def test_many_lines_are_thinned_and_the_last_of_a_pass_is_emitted(counter, said):
    for done in range(1, 17):
        counter.handle_line(line(done), done / 100)
    for done in range(1, 12):  # the line of the last frame is missing
        counter.handle_line(line(done), 1 + done / 100)
    counter.finish()
    counter.finish()
    assert [(update.pass_index, update.done) for update in said] == [(0, 1), (0, 16), (1, 1), (1, 11)]


def test_a_pass_that_ended_early_is_emitted_before_the_next(counter, said):
    for now, done in ((0, 1), (0.1, 9), (0.2, 1)):
        counter.handle_line(line(done, None), now)
    assert [(update.pass_index, update.done) for update in said] == [(0, 1), (0, 9), (1, 1)]
    assert counter.predicted == 9


def test_a_single_frame_has_two_passes_too(counter, said):
    for now in (0, 1):
        counter.handle_line(line(1, 1), now)
    assert [(update.pass_index, update.done) for update in said] == [(0, 1), (1, 1)]


def test_there_is_no_third_pass_and_without_tracking_no_second(counter, said):
    for now, done in enumerate((9, 1, 9, 1, 9, 1)):
        counter.handle_line(line(done), now)
    assert said[-1].pass_index == 1
    plain = FrameCounter("j", 0, False, said.append)
    for now, done in enumerate((9, 1)):
        plain.handle_line(line(done), now)
    assert said[-1].pass_index == 0


def test_an_error_is_kept_as_the_reason_without_paths(counter, said):
    raw = json.dumps({"error": True, "type": "FileNotFoundError", "message": "gone:\n/srv/jobs/7/best.ckpt"}).encode()
    assert counter.handle_line(raw, 0)
    assert counter.failure == "FileNotFoundError: gone: best.ckpt"
    assert counter.handle_line(b'{"error": true, "type": 3}', 0)
    assert counter.failure == ""
    assert said == []


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"{}", b"a line", b'{"n_processed": -1}', b'{"n_processed": true}', b'{"n_processed": 1.5}',
        b'{"n_processed": "1"}', b'{"error": "maybe"}', b'{"n_processed": 1', b'{"n_processed": ' + b"9" * 30 + b"}",
        b'{"n_processed": ' + b"[" * 60_000 + b"}", b'{"n_processed": \xff}', b'{"other": 1}',
        b'{"n_processed": 9e999}',
    ],
)  # fmt: skip
def test_other_lines_are_left_to_the_log(raw, counter, said):
    assert not counter.handle_line(raw, 0)
    assert said == []


def test_estimates_that_are_no_numbers_become_nothing(counter, said):
    counter.handle_line(line(1, True, rate=float("inf"), eta=float("nan")), 0)
    counter.handle_line(line(2, -3, rate=-1, eta=10**400), 1)
    counter.handle_line(line(3, "x", rate="fast", eta=True), 2)
    assert said == [FramesDone("j", 2, done) for done in (1, 2, 3)]
