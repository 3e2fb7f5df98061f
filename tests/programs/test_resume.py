"""Links break during an upload and a download: the rest is sent over the next link, and nothing is lost."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from protocol.faults import Fault, FaultCode
from rtc.client import tickets
from rtc.testing.lab import Lab, RecordingView
from rtc.testing.limits import HANG_TIME
from rtc.transport.links.link import Link

pytestmark = pytest.mark.slow

MakePackage = Callable[..., Path]
CUT = Fault(FaultCode.LINK_LOST, "The cable was pulled.")
MEGABYTES = 24


class CuttingView(RecordingView):
    """Cuts all links when half of the package is sent, and once more when half of the result is received."""

    def __init__(self, links: list[Link]) -> None:
        super().__init__()
        self.links = links
        self.uploads: list[int] = []
        self.downloads: list[int] = []

    def upload(self, done: int, total: int) -> None:
        self._cut_at_half(self.uploads, done, total)

    def download(self, done: int, total: int) -> None:
        self._cut_at_half(self.downloads, done, total)

    def _cut_at_half(self, seen: list[int], done: int, total: int) -> None:
        if done > total / 2 and not any(each > total / 2 for each in seen):
            for link in self.links:
                link.cut(CUT)
            self.links.clear()
        seen.append(done)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """Return a list that gets both ends of every link when the link is authenticated; `CuttingView` empties it."""
    links: list[Link] = []
    real = Link.trust

    def trust(link: Link, *arguments: object) -> None:
        links.append(link)
        real(link, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "trust", trust)
    return links


@pytest.fixture
def heavy(package: MakePackage) -> Path:
    """Return a large package with a large result, so that both transfers take a while."""
    path = package(epochs=1, megabytes=MEGABYTES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("video.bin", os.urandom(MEGABYTES * 2**20))
    return path


async def test_a_package_and_a_result_arrive_although_their_links_break(
    lab: Lab, heavy: Path, links: list[Link]
) -> None:
    worker, view = await lab.start_worker(), CuttingView(links)
    with trio.fail_after(HANG_TIME):
        run = await lab.run_client(worker, heavy, view=view)
    assert run.fault is None
    assert run.output is not None
    assert list(run.output.rglob("best.ckpt"))
    for seen in (view.uploads, view.downloads):
        assert 0 not in seen[2:], "the transfer begins again"
    assert "Back at the worker; sending the rest of the package" in view.texts
    assert len([line for line in view.texts if line.startswith("warning: The link to the worker is lost")]) == 2
    await worker.log.until("its sender is back with the rest of the package")
    assert list(worker.options.work.iterdir()) == []


@pytest.mark.long
async def test_a_package_is_sent_again_when_its_sender_was_away_for_too_long(
    lab: Lab, heavy: Path, links: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.worker.RETURN_TIME", 0.1)
    worker, view, folder = await lab.start_worker(), CuttingView(links), lab.folder / "tickets"
    with trio.fail_after(HANG_TIME):
        run = await lab.run_client(worker, heavy, view=view, tickets_folder=folder)
    assert run.output is not None
    assert list(run.output.rglob("best.ckpt"))
    assert "The worker has not kept the beginning of the package; all of it is sent again" in view.texts
    assert len([line for line in view.texts if line.startswith("accepted")]) == 2
    assert tickets.jobs_with_tickets(folder) == [], "neither job's ticket is left"
