"""A worker and a client of an earlier version are replaced by new ones while a job runs."""

from pathlib import Path

import pytest

from rtc.testing.moments import MOMENTS
from rtc.testing.terminals import Scene, eventually

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_running_job_stays_where_it_is_until_it_has_ended_and_its_owner_gets_the_result(scene: Scene) -> None:
    old = scene.folder / "bench" / ".sleap-rtc"
    scene.start_worker("--work-dir", str(old / "work"), "--results-dir", str(old / "results"))
    moment = MOMENTS["in the first epoch"]
    client = scene.client(moment.package(scene.person_folder / "train.zip"))
    moment.wait(scene, client)
    client.kill()
    scene.worker.kill()
    move_tickets_to_the_old_folder(scene)

    scene.start_worker()
    assert "A job runs in ~/.sleap-rtc, where" in scene.worker.err.read_text()
    eventually("a result in the old folder", lambda: list((old / "results").glob("job-*.zip")))
    eventually("the end of the job", lambda: not list((old / "work").glob("job-*")))
    assert not scene.work.exists()
    scene.worker.kill()

    scene.start_worker()
    assert (list(old.iterdir()), scene.worker.err.read_text()) == ([], "")
    assert len(list(scene.results.glob("job-*.zip"))) == 1
    attached = scene.person("attach", "--json")
    assert attached.ended() == 0, attached.text
    assert scene.models() == scene.trained != set()
    assert (scene.tickets, (scene.folder / "person" / ".sleap-rtc" / "jobs").exists()) == ([], False)
    scene.check_nothing_is_left()


def move_tickets_to_the_old_folder(scene: Scene) -> None:
    [ticket] = scene.tickets
    old: Path = scene.folder / "person" / ".sleap-rtc" / "jobs"
    old.parent.mkdir()
    ticket.parent.rename(old)
