"""A subprocess gets a long text whole, also when it starts slowly."""

import subprocess
import sys

import pytest

from rtc.common.subprocess_input import open_input

SLOW = "import sys; sys.stdin.buffer.read(1); print('started', flush=True); print(1 + len(sys.stdin.buffer.read()))"


@pytest.mark.slow  # it starts a program
def test_a_text_longer_than_a_pipe_arrives_whole_after_a_time_out() -> None:
    text = "x" * 2**20
    with (
        open_input(text) as stdin,
        subprocess.Popen([sys.executable, "-c", SLOW], stdin=stdin, stdout=subprocess.PIPE) as process,
    ):
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0)
        output, _ = process.communicate(timeout=60)
    assert output.split() == [b"started", str(len(text)).encode()]
