"""The script that counts a person's first minute runs, and joining once costs fewer keys than the old way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rtc.testing.limits import HANG_TIME

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "first_minute.py"


@pytest.mark.long
def test_with_a_short_code_the_first_job_costs_a_third_of_the_keys_of_the_old_way() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=HANG_TIME,
        check=False,
        cwd=SCRIPT.parents[1],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = {
        line.split("|")[1].strip(): int(line.split("|")[2])
        for line in done.stdout.splitlines()
        if re.search(r"\u00d7", line)
    }
    assert first["join once with the short code"] * 3 < first["old: the session string in every command"]
    assert first["join once with the session string"] < first["old: the session string in every command"]
