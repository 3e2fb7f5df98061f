"""A real outage: all UDP between worker and client is dropped for a while, and the job is not affected.

Uses two network namespaces of this machine with a router between them, and changes nothing outside them. Needs root and
iproute2, and runs only on request: `make test-long`, or `pytest -m root_net tests/programs/test_faults_net.py`.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from protocol.link import HEARTBEAT_TIME, LOST_TIME
from rtc.testing.moments import MOMENTS
from rtc.testing.terminals import Scene

OUTAGE = LOST_TIME + HEARTBEAT_TIME + 1
"""Seconds after which both sides have given up a silent link."""
WORKER_SIDE = "10.213.2.2"


def why_not() -> str | None:
    """Return why these tests cannot run here; None when they can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and ip"
    return "needs network namespaces" if subprocess.run(["ip", "netns"], check=False).returncode else None


REASON = why_not()
pytestmark = [pytest.mark.long, pytest.mark.root_net, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


def sh(*command: str) -> None:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@frozen
class Net:
    """Three namespaces: person – router – bench, where the worker and the server run."""

    prefix: str

    def enter(self, name: str) -> tuple[str, ...]:
        return "ip", "netns", "exec", f"{self.prefix}-{name}"

    def ip(self, name: str, *words: str) -> None:
        sh("ip", "-n", f"{self.prefix}-{name}", *words)

    def drop_udp(self, seconds: float) -> None:
        """Make the router drop every UDP packet for so many seconds, without any ICMP message."""
        self.ip("router", "rule", "add", "ipproto", "udp", "blackhole", "pref", "1")
        time.sleep(seconds)
        self.ip("router", "rule", "del", "pref", "1")


@pytest.fixture
def net() -> Iterator[Net]:
    """Makes the namespaces, and deletes them afterwards."""
    net = Net(f"rtcf{os.getpid()}")
    with ExitStack() as stack:
        for name in ("person", "router", "bench"):
            sh("ip", "netns", "add", f"{net.prefix}-{name}")
            stack.callback(sh, "ip", "netns", "del", f"{net.prefix}-{name}")
            net.ip(name, "link", "set", "lo", "up")
        for name, number in (("person", 1), ("bench", 2)):
            peer = ("peer", "name", f"to{number}", "netns", f"{net.prefix}-router")
            sh("ip", "link", "add", "eth", "netns", f"{net.prefix}-{name}", "type", "veth", *peer)
            for where, link, host in ((name, "eth", 2), ("router", f"to{number}", 1)):
                net.ip(where, "addr", "add", f"10.213.{number}.{host}/24", "dev", link)
                net.ip(where, "link", "set", link, "up")
            net.ip(name, "route", "add", "default", "via", f"10.213.{number}.1")
        sh(*net.enter("router"), "sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield net


@pytest.fixture
def scene(net: Net, tmp_path: Path) -> Iterator[Scene]:
    """Starts a server; server and worker run on one side of the router, the person on the other."""
    wrappers = {name: net.enter("person" if name == "person" else "bench") for name in ("person", "bench", "server")}
    scene = Scene(tmp_path, "", wrappers)
    ports = ("--host", WORKER_SIDE, "--ws-port", "0", "--http-port", "0")
    try:
        server = scene.start("server", "server", *ports, "--data", str(tmp_path / "data"))
        scene.server = server.until_printed(r"Signalling at (ws://[\d.:]+),")
        yield scene
        server.kill()
    finally:
        scene.close()


@pytest.mark.parametrize("when", list(MOMENTS))
def test_a_job_and_its_client_survive_an_outage(net: Net, scene: Scene, when: str) -> None:
    moment = MOMENTS[when]
    package = moment.package(scene.person_folder / "toy.zip")
    scene.start_worker()
    client = scene.client(package)
    moment.wait(scene, client)
    net.drop_udp(OUTAGE)
    code = client.ended()
    print(f"UDP is dropped {when}: {code} {client.sentence}")
    if when != "before the upload" or code == 0:  # once the upload has begun, it can continue
        assert code == 0, client.text
        assert scene.models() == scene.trained != set(), client.text
    else:
        assert code in (3, 5), client.text
        assert scene.trained == scene.models() == set(), "a job ran although its client reported that it does not"
    assert scene.tickets == []
    assert scene.status() == "available"
    assert list(scene.work.iterdir()) == []
