"""What other projects' tests get: fixtures, and examples that work as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^```\w+\n# ([\w./]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_examples_of_the_page_about_testing_work(tmp_path):
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    examples = dict(EXAMPLE.findall(page))
    assert set(examples) == {"pytest.ini", "tests/conftest.py", "tests/test_reservation.py", "tests/test_lab.py"}
    for name, text in examples.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
