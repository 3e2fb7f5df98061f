"""Links break while files cross them: over the next one the rest is sent, and nothing is lost."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from protocol.faults import Fault, FaultCode
from rtc.client import tickets
from rtc.testing.lab import Lab, RecordingView
from rtc.transport.links.link import Link

MakePackage = Callable[..., Path]
CUT = Fault(FaultCode.LINK_LOST, "The cable was pulled.")
PATIENCE = 60.0
MEGABYTES = 24


class ClumsyView(RecordingView):
    """Pulls the cable the first time that so much of a file is over, one way and the other."""

    def __init__(self, links: list[Link]) -> None:
        super().__init__()
        self.links = links
        self.uploads: list[int] = []
        self.downloads: list[int] = []

    def upload(self, done: int, total: int) -> None:
        self._crosses(self.uploads, done, total)

    def download(self, done: int, total: int) -> None:
        self._crosses(self.downloads, done, total)

    def _crosses(self, seen: list[int], done: int, total: int) -> None:
        if done > total / 2 and not any(each > total / 2 for each in seen):
            for link in self.links:
                link.cut(CUT)
            self.links.clear()
        seen.append(done)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """Both ends of every trusted link that is not cut yet."""
    made: list[Link] = []
    real = Link.trust

    def trust(link: Link, *words: object) -> None:
        made.append(link)
        real(link, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "trust", trust)
    return made


@pytest.fixture
def heavy(package: MakePackage) -> Path:
    """A package that takes a while each way."""
    made = package(epochs=1, megabytes=MEGABYTES)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("video.bin", os.urandom(MEGABYTES * 2**20))
    return made


async def test_a_package_and_a_result_cross_although_their_links_break(
    lab: Lab, heavy: Path, links: list[Link]
) -> None:
    worker, view = await lab.start_worker(), ClumsyView(links)
    with trio.fail_after(PATIENCE):
        run = await lab.run_client(worker, heavy, view=view)
    assert run.fault is None
    assert run.output is not None
    assert list(run.output.rglob("best.ckpt"))
    for seen in (view.uploads, view.downloads):
        assert 0 not in seen[2:], "it does not begin again"
    assert "Back at the worker; sending the rest of the package" in view.told
    assert len([line for line in view.told if line.startswith("warning: The link to the worker is lost")]) == 2
    await worker.said.until("its sender is back with the rest of the package")
    assert list(worker.options.work.iterdir()) == []


async def test_a_package_is_sent_anew_when_its_sender_was_away_for_too_long(
    lab: Lab, heavy: Path, links: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.worker.RETURN_TIME", 0.1)
    worker, view, folder = await lab.start_worker(), ClumsyView(links), lab.folder / "tickets"
    with trio.fail_after(PATIENCE):
        run = await lab.run_client(worker, heavy, view=view, tickets=folder)
    assert run.output is not None
    assert list(run.output.rglob("best.ckpt"))
    assert "The worker has not kept the beginning of the package; all of it is sent again" in view.told
    assert len([line for line in view.told if line.startswith("accepted")]) == 2
    assert tickets.known_jobs(folder) == [], "neither job's ticket is left"
