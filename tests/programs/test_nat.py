"""Links through NATs and firewalls, in network namespaces of this machine: worker – NAT – internet – NAT – client.

Changes nothing outside its namespaces. Needs root, iproute2, nftables and coturn, and runs only on request:
`make test-long`, or `pytest -m root_net tests/programs/test_nat.py`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in, make_package
from rtc.testing.terminals import eventually

ROOT = Path(sys.modules["rtc"].__path__[0]).parent
TOOLS = ("ip", "nft", "turnserver")


def why_not() -> str | None:
    """Return why these tests cannot run here; None when they can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        return f"needs root and {', '.join(missing or TOOLS)}"
    probe = subprocess.run(["ip", "netns", "list"], capture_output=True, check=False)
    return "needs network namespaces" if probe.returncode else None


REASON = why_not()
pytestmark = [pytest.mark.long, pytest.mark.root_net, pytest.mark.skipif(REASON is not None, reason=REASON or "")]

SECRET = "only for this test, and long"
TURN = """
listening-ip=10.211.1.1
relay-ip=10.211.1.1
listening-port=3478
min-port=49160
max-port=49460
realm=test
use-auth-secret
static-auth-secret={secret}
denied-peer-ip=192.168.0.0-192.168.255.255
denied-peer-ip=127.0.0.0-127.255.255.255
fingerprint
no-tls
no-dtls
no-cli
no-multicast-peers
log-file=stdout
simple-log
db={folder}/turn.db
pidfile={folder}/turn.pid
"""
NAT = """
table ip nat {{
  chain post {{
    type nat hook postrouting priority 100;
    oifname "wan" masquerade {mode}
  }}
}}
table ip fw {{
  chain through {{
    type filter hook forward priority 0; policy drop;
    {block}
    ct state established,related accept
    iifname != "wan" accept
  }}
  chain here {{
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    iifname "wan" drop
  }}
}}
"""


class Net:
    """Namespaces a – na – x – nb – b: worker in a, client in b, their routers (NAT) in na and nb; server and coturn in
    x, which stands for the internet."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self._stack = stack
        self._prefix = f"rtc{os.getpid()}"
        for name in ("a", "na", "x", "nb", "b"):
            sh("ip", "netns", "add", self.name(name))
            stack.callback(sh, "ip", "netns", "del", self.name(name))
            self.run(name, "ip", "link", "set", "lo", "up")
            self.run(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            self.run(name, "sysctl", "-qw", f"net.ipv4.ip_forward={int(len(name) == 2 or name == 'x')}")
        for side, net in (("a", 1), ("b", 2)):
            self._wire((side, "eth", f"192.168.{net}.2"), (f"n{side}", "lan", f"192.168.{net}.1"))
            self._wire((f"n{side}", "wan", f"10.211.{net}.2"), ("x", f"to{side}", f"10.211.{net}.1"))
            self.run(side, "ip", "route", "add", "default", "via", f"192.168.{net}.1")
            self.run(f"n{side}", "ip", "route", "add", "default", "via", f"10.211.{net}.1")

    def name(self, short: str) -> str:
        """Return a namespace's full name."""
        return f"{self._prefix}-{short}"

    def run(self, where: str, *command: str, text: str | None = None) -> None:
        """Run a command in a namespace, and wait for its end."""
        sh("ip", "netns", "exec", self.name(where), *command, text=text)

    def start(self, where: str, name: str, *command: str) -> Path:
        """Start a program that runs until the test ends; return the file with its output."""
        out = self.folder / f"{name}.out"
        with out.open("w") as file:
            full = ["ip", "netns", "exec", self.name(where), *command]
            process = subprocess.Popen(full, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=self.env(name))
        self._stack.callback(process.wait, HANG_TIME)
        self._stack.callback(process.terminate)
        return out

    def env(self, name: str) -> dict[str, str]:
        """Return the environment of a program, with its own home folder."""
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONUNBUFFERED": "1"}

    def nat(self, side: str, *, symmetric: bool = False, udp: bool = True) -> None:
        """Set up the NAT of one side's router.

        Args:
            side: "a" or "b".
            symmetric: use a new random port for each destination, so that STUN alone cannot work.
            udp: whether UDP passes at all.
        """
        mode, block = "random,fully-random" if symmetric else "", "" if udp else "meta l4proto udp drop"
        self.run(f"n{side}", "nft", "-f", "-", text=NAT.format(mode=mode, block=block))

    def _wire(self, one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
        (here, name, address), (there, other, second) = one, two
        sh(
            *("ip", "link", "add", name, "netns", self.name(here), "type", "veth"),
            *("peer", "name", other, "netns", self.name(there)),
        )
        for space, link, own in ((here, name, address), (there, other, second)):
            self.run(space, "ip", "addr", "add", f"{own}/24", "dev", link)
            self.run(space, "ip", "link", "set", link, "up")


def sh(*command: str, text: str | None = None) -> None:
    """Run a command; fail with its standard error when it fails."""
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def until_printed(out: Path, pattern: str) -> str:
    """Wait until a program has printed a text that matches; return the match."""
    return eventually(f"{pattern} in {out}", lambda: re.search(pattern, out.read_text()))[0]


@contextmanager
def open_net(folder: Path) -> Iterator[Net]:
    """Make the namespaces, and start coturn in x; everything is removed afterwards."""
    with ExitStack() as stack:
        net = Net(stack, folder)
        (folder / "turn.conf").write_text(TURN.format(secret=SECRET, folder=folder))
        (folder / "secret").write_text(SECRET)
        until_printed(net.start("x", "turn", "turnserver", "-c", str(folder / "turn.conf")), "Total General servers")
        yield net


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Yields the namespaces of `open_net`."""
    with open_net(tmp_path) as net:
        yield net


@pytest.fixture
def train(net: Net, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Starts a server in x and a worker in a, and runs a client in b.

    Returns the client's exit code and its output.
    """

    def run(*server: str) -> tuple[int, str]:
        rtc = (sys.executable, "-m", "rtc")
        until_printed(
            net.start("x", "server", *rtc, "server", "--data", str(tmp_path / "data"), *server), "Signalling at"
        )
        stand_in = str(install_stand_in(tmp_path / "bin"))
        folders = ("--work-dir", str(tmp_path / "work"), "--results-dir", str(tmp_path / "results"))
        worker = ("worker", "--server", "ws://10.211.1.1:8080", "--sleap-nn", stand_in, *folders)
        session = until_printed(net.start("a", "worker", *rtc, *worker), r"eyJ[\w=-]+")
        package = make_package(tmp_path / "toy.zip")
        client = ("client-train", "--session-string", session, "--pkg-path", str(package), "--output")
        command = ["ip", "netns", "exec", net.name("b"), *rtc, *client, str(tmp_path / "out")]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=HANG_TIME, cwd=ROOT, env=net.env("client")
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


STUN = ("--stun-url", "stun:10.211.1.1")
RELAYS = (
    *("--turn-url", "turn:10.211.1.1", "--turn-url", "turn:10.211.1.1?transport=tcp"),
    *("--turn-secret-file", "{secret}"),
)


@pytest.mark.parametrize(
    ("symmetric", "udp", "relays", "path"),
    [
        (False, True, False, "direct"),
        (False, True, True, "direct"),
        (True, True, True, "relayed"),
        (True, False, True, "relayed"),
    ],
    ids=["cone, STUN", "cone, STUN and TURN", "symmetric", "no UDP"],
)
def test_a_job_runs_through_nats(
    net: Net, train: Callable[..., tuple[int, str]], symmetric: bool, udp: bool, relays: bool, path: str
) -> None:
    net.nat("a", symmetric=symmetric, udp=udp)
    net.nat("b", symmetric=symmetric)
    servers = [*STUN, *(option.format(secret=net.folder / "secret") for option in RELAYS)] if relays else STUN
    code, output = train(*servers)
    assert code == 0, output
    assert f"({path}, " in output


def test_symmetric_nats_without_a_relay_are_reported_as_what_they_are(
    net: Net, train: Callable[..., tuple[int, str]]
) -> None:
    net.nat("a", symmetric=True)
    net.nat("b", symmetric=True)
    code, output = train(*STUN)
    assert code == 5, output
    assert "there is no common route to it" in output
    assert "TURN server" in output
