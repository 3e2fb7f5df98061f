"""The Python API in a notebook: a cell is interrupted, the job runs on, and the next cell goes on with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause, make_package
from rtc.testing.terminals import Scene

pytestmark = pytest.mark.slow

OPEN = """
import threading, time
from pathlib import Path
from rtc.api import blocking
room = blocking.connect(session_string={session!r})
job = room.submit("toy.zip")
"""
WAIT = """
def tell():
    while not room._thread._waiting:
        time.sleep(0.01)
    print("waiting", flush=True)

threading.Thread(target=tell).start()
job.wait(progress=True)
"""
GO_ON = """
Path({pause!r}).touch()
result = job.result(progress=True)
room.close()
print(result.outcome.value, [thread.name for thread in threading.enumerate() if thread.name == "sleap-rtc"])
"""


@pytest.fixture
def kernel(scene: Scene) -> Iterator[tuple[Any, Any]]:
    """A kernel of the person, and a client of it."""
    environ = dict(scene._environment("person"))
    manager, client = start_new_kernel(
        startup_timeout=HANG_TIME, kernel_name="python3", env=environ, cwd=scene.person_folder
    )
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run_cell(client: Any, code: str, *, on_text: tuple[str, Any] = ("", None)) -> list[dict[str, Any]]:
    """Run a cell, and return its outputs.

    Args:
        client: of the kernel.
        code: the cell.
        on_text: a text, and what is called once that text is printed.
    """
    outputs: list[dict[str, Any]] = []

    def note(message: dict[str, Any]) -> None:
        outputs.append(message)
        if on_text[1] is not None and on_text[0] in str(message["content"].get("text", "")):
            on_text[1]()

    client.execute_interactive(code, timeout=HANG_TIME, output_hook=note)
    return outputs


def test_a_cell_is_interrupted_and_the_next_one_goes_on(
    scene: Scene, kernel: tuple[Any, Any], pause: TrainingPause
) -> None:
    manager, client = kernel
    scene.start_worker()
    make_package(scene.person_folder / "toy.zip", wait_for=pause.file)
    assert errors(run_cell(client, OPEN.format(session=scene.session))) == []
    [error] = errors(
        run_cell(client, WAIT, on_text=("waiting", partial(os.kill, manager.provisioner.pid, signal.SIGINT)))
    )
    assert error["ename"] == "KeyboardInterrupt"
    assert f"sleap-rtc attach {scene.tickets[0].stem}" in error["evalue"]
    outputs = run_cell(client, GO_ON.format(pause=pause.file))
    assert errors(outputs) == []
    printed = "".join(str(each["content"].get("text", "")) for each in outputs)
    assert printed.strip() == "done []"
    drawn = [each for each in outputs if each["msg_type"] == "update_display_data"]
    assert "Results are in" in drawn[-1]["content"]["data"]["text/plain"]


def errors(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["content"] for each in outputs if each["msg_type"] == "error"]


@pytest.mark.long
def test_a_script_runs_in_ipython_as_in_python(scene: Scene) -> None:
    scene.start_worker()
    make_package(scene.person_folder / "toy.zip")
    code = (
        f"from rtc.api import blocking; room = blocking.connect(session_string={scene.session!r}); "
        "print(room.submit('toy.zip').result(progress=True).outcome.value); room.close()"
    )

    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "-c", code],
        env=dict(scene._environment("person")),
        cwd=scene.person_folder,
        capture_output=True,
        text=True,
        timeout=HANG_TIME,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has accepted job-" in done.stdout, "lines, as in any terminal"
    assert done.stdout.splitlines()[-1] == "done"
