"""The doctor's checks and their possible findings, on real sockets, folders and programs."""

import errno
import json
import socket
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from attrs import evolve

import rtc.doctor.server
from protocol.faults import Fault, FaultCode
from protocol.signaling import Join
from protocol.version import VERSIONS, VersionRange
from rtc.common import file_system
from rtc.common.file_system import Feature
from rtc.common.gpu import NO_GPU, GpuFacts
from rtc.config.folders import Folders
from rtc.config.ice_servers import IceServer
from rtc.config.load import load_config
from rtc.doctor import folders, machine, sleap_nn, udp
from rtc.doctor.finding import CHECK_TIME, Check, Finding, Level, Report, ok, run_checks
from rtc.doctor.plan import ROLES, all_checks
from rtc.doctor.run_subprocess import SubprocessResult, run_subprocess
from rtc.doctor.server import Reply, check_clock, check_http, check_websocket, clock_finding, fetch_health
from rtc.doctor.settings import config_finding
from rtc.doctor.show import report_line, reports_json, summary
from rtc.doctor.stun import COOKIE
from rtc.server import Server, open_server
from rtc.sleap_nn.torch_build import TorchBuild
from rtc.testing.limits import HANG_TIME

GPU = GpuFacts("NVIDIA H200", 143771, 140000, "12.8", "GPU-1")

ROOT = Path(__file__).parents[2]
CLOSED = "127.0.0.1:9"  # the discard port: nobody listens
WORKER = ROLES["worker"]


# -------- running checks


async def test_checks_run_at_the_same_time_and_report_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async def after(seconds: float) -> Finding:
        await trio.sleep(seconds)
        return ok(f"{seconds:g}")

    reported: list[tuple[str, float]] = []
    checks = [Check(name, partial(after, seconds)) for name, seconds in (("a", 3), ("b", 1), ("c", 5))]
    await run_checks(checks, lambda report: reported.append((report.name, trio.current_time())))
    begun = reported[0][1] - 3
    assert reported == [("a", begun + 3), ("b", begun + 3), ("c", begun + 5)]


async def test_a_check_that_hangs_is_a_failure_within_its_limit(autojump_clock: trio.testing.MockClock) -> None:
    reports: list[Report] = []
    begun = trio.current_time()
    await run_checks([Check("hang", trio.sleep_forever, timeout_advice="Kick it.")], reports.append)  # type: ignore[arg-type]
    assert trio.current_time() - begun == CHECK_TIME
    assert [(r.finding.level, r.finding.advice) for r in reports] == [(Level.FAIL, "Kick it.")]


def test_a_report_is_one_line_that_only_shows() -> None:
    report = Report("turn", "turn:lab", Finding(Level.FAIL, "bad\n\x1b[31mthing", "Do this."))
    assert report_line(report, 6) == "fail  turn    turn:lab: bad\N{REPLACEMENT CHARACTER}thing  → Do this."
    assert summary([report]) == "\n1 check failed."
    assert '"level": "fail"' in reports_json([report])
    assert [*json.loads(reports_json([report]))[0]] == ["name", "subject", "level", "detail", "advice"]


# -------- this machine


def test_python_s_bounds_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == machine.PYTHONS
    assert machine.python_finding("3.12.1").level is Level.OK
    assert machine.python_finding("3.10.9").level is Level.FAIL
    assert machine.python_finding("3.14.0rc1").level is Level.FAIL


def test_every_requirement_of_ours_is_compared() -> None:
    trio_here = version("trio")
    asked = ["trio>=0.1", "trio<0.1", "no-such-thing-at-all", "missing-too; extra == 'worker'", "x; extra == 'dev'"]
    assert list(machine.find_unmet(asked, set())) == [
        f"trio is {trio_here}, and <0.1 is needed",
        "no-such-thing-at-all is missing",
    ]
    assert "missing-too is missing" in list(machine.find_unmet(asked, {"worker"}))


@pytest.mark.slow  # imports them in a process of its own
async def test_our_own_packages_are_in_order() -> None:
    assert (await machine.check_packages(worker=False)).level is Level.OK


async def test_a_package_that_does_not_load_is_reported_with_python_s_own_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "LOADED_MODULES", ("no_such_module_at_all",))
    finding = await machine.check_packages(worker=False)
    assert finding.level is Level.FAIL
    assert "No module named 'no_such_module_at_all'" in finding.detail


@pytest.mark.parametrize(("worker", "command"), [(True, "pip install '.[worker]' in"), (False, "pip install . in")])
async def test_missing_packages_are_installed_from_our_own_folder(
    monkeypatch: pytest.MonkeyPatch, worker: bool, command: str
) -> None:
    monkeypatch.setattr(machine, "requires", lambda _name: ["no-such-thing-at-all"])
    finding = await machine.check_packages(worker=worker)
    assert finding.level is Level.FAIL
    assert command in (finding.advice or "")


def test_a_gpu_is_ok_a_full_one_and_none_are_warnings() -> None:
    gpu = GPU
    assert machine.gpu_finding([gpu], has_nvml=True) == ok(
        "NVIDIA H200, 143771 MB, 140000 MB of it free; driver for CUDA 12.8"
    )
    assert machine.gpu_finding([gpu, evolve(gpu, free_mb=1000)], has_nvml=True).level is Level.WARN
    assert machine.gpu_finding([], has_nvml=True).level is Level.WARN
    assert machine.gpu_finding([], has_nvml=False).level is Level.SKIP


# -------- folders


def test_a_private_folder_with_room_is_fine_and_left_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    need = folders.FolderPurpose("another", 1, 1)
    assert folders.inspect_folder(tmp_path, need).level is Level.OK
    assert folders.inspect_folder(tmp_path / "to" / "come", need).detail.endswith("to be made")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_may_read_is_a_warning_where_it_matters(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    finding = folders.inspect_folder(tmp_path, folders.FolderPurpose("another", 1, 1))
    assert finding.level is Level.WARN
    assert finding.advice == f"Close it: chmod 700 {tmp_path}", "which can be run as it stands"
    assert folders.inspect_folder(tmp_path, folders.FolderPurpose("another", 1, 1, private=False)).level is Level.OK


@pytest.mark.parametrize(
    ("min_bytes", "large_job_bytes", "level"), [(10**18, 10**18, Level.FAIL), (1, 10**18, Level.WARN)]
)
def test_little_free_space_is_reported(tmp_path: Path, min_bytes: int, large_job_bytes: int, level: Level) -> None:
    tmp_path.chmod(0o700)
    assert folders.inspect_folder(tmp_path, folders.FolderPurpose("another", min_bytes, large_job_bytes)).level is level


def test_a_file_in_a_folder_s_place_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    assert folders.inspect_folder(tmp_path / "work", folders.WORK).level is Level.FAIL
    assert folders.inspect_folder(tmp_path / "work" / "deeper", folders.WORK).level is Level.FAIL


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # file modes do not stop root
    finding = folders.inspect_folder(tmp_path, folders.WORK)
    assert finding.level is Level.FAIL
    assert "Read-only file system" in finding.detail
    assert str(tmp_path) not in finding.detail


@pytest.mark.parametrize(
    ("purpose", "lacks", "level"),
    [
        (folders.RESULTS, Feature.LOCKS, Level.FAIL),
        (folders.WORK, Feature.FIFOS, Level.FAIL),
        (folders.WORK, Feature.LOCKS, Level.WARN),
        (folders.LOGS, Feature.LOCKS, Level.WARN),
        (folders.OUTPUT, Feature.LOCKS, Level.OK),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_what_a_file_system_lacks_is_reported_where_it_matters(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    purpose: folders.FolderPurpose,
    lacks: Feature,
    level: Level,
    exists: bool,
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=10**15))
    monkeypatch.setitem(file_system._TRIALS, lacks, refuse)
    finding = folders.inspect_folder(tmp_path if exists else tmp_path / "to come", purpose)
    assert finding.level is level
    assert level is Level.OK or f"without {lacks.value}" in finding.detail
    assert list(tmp_path.iterdir()) == []


def refuse(_path: Path) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


# -------- sleap-nn


async def test_a_subprocess_s_last_line_is_shown_without_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = await run_subprocess(
        [sys.executable, "-c", f"print('a' * 99999); print(); raise SystemExit('{tmp_path}/lib')"]
    )
    assert (result.status, result.last_line) == (1, "~/lib")
    assert (await run_subprocess([sys.executable, "-c", "raise SystemExit(3)"])).last_line.endswith(
        "3 and said nothing"
    )
    assert (
        await run_subprocess(["/no/such/program"])
    ).last_line == "program cannot be started (No such file or directory)"


def test_the_findings_about_the_imports() -> None:
    fine = SubprocessResult(0, "some noise\n2.13.0 0.28.0 0.3.5 1\n")
    assert sleap_nn.imports_finding(fine, GPU).level is Level.OK
    unused = SubprocessResult(0, "2.13.0 0.28.0 0.3.5 0\n")
    no_cuda = sleap_nn.imports_finding(unused, GPU)
    assert no_cuda.level is Level.WARN
    assert "cannot use the GPU" in no_cuda.detail
    assert "driver is too old" in str(sleap_nn.imports_finding(unused, GPU, TorchBuild("13.0")).advice)
    assert sleap_nn.imports_finding(SubprocessResult(0, "2.13.0+cpu 0.28.0 0.3.5 0\n"), NO_GPU).level is Level.OK
    broken = sleap_nn.imports_finding(SubprocessResult(1, "Traceback\nImportError: libcudnn.so.9\n"), NO_GPU)
    assert broken.level is Level.FAIL
    assert "libcudnn.so.9" in broken.detail
    assert sleap_nn.program_finding(SubprocessResult(1, "boom")).level is Level.FAIL


async def test_a_missing_sleap_nn_fails_only_if_the_role_worker_was_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_kwargs: None)
    assert (await sleap_nn.check_program(required=False)).level is Level.SKIP
    assert (await sleap_nn.check_imports(required=True)).level is Level.FAIL


@pytest.mark.slow
@pytest.mark.real_sleap_nn
async def test_the_real_sleap_nn_is_run_and_imported_as_jobs_would() -> None:
    for check in (sleap_nn.check_program, sleap_nn.check_imports):
        finding = await check(required=True)
        assert finding.level is not Level.FAIL
        assert version("sleap-nn") in finding.detail


# -------- settings and the plan


def test_settings_that_cannot_be_read_are_a_finding_and_the_network_is_skipped(tmp_path: Path) -> None:
    fault = Fault(FaultCode.USAGE, "chunk_size is not what it should be.")
    assert config_finding(fault).level is Level.FAIL
    checks = all_checks(
        fault,
        ROLES[None],
        cwd=tmp_path,
        user_folders=Folders(tmp_path, tmp_path),
        make_turn_check=lambda _server: pytest.fail("not asked for"),
    )
    assert {"python", "server-websocket", "turn", "sleap-nn-import"} <= {check.name for check in checks}


def test_each_role_has_its_own_checks(tmp_path: Path) -> None:
    config = load_config(server=None, environ={}, cwd=tmp_path, settings=tmp_path)
    config = evolve(config, ice_servers=(IceServer("turn:a", "u", "p"), IceServer("turns:b", "u", "p")))

    def names(role: str | None) -> list[str]:
        turn = lambda server: Check("turn", trio.sleep_forever, server.urls)  # type: ignore[arg-type] # noqa: E731
        return [
            check.name
            for check in all_checks(
                config, ROLES[role], cwd=tmp_path, user_folders=Folders(tmp_path, tmp_path), make_turn_check=turn
            )
        ]

    assert "gpu" in names("worker")
    assert "folder-output" not in names("worker")
    assert not {"gpu", "sleap-nn", "folder-work"} & set(names("client"))
    assert names("client").count("turn") == 2
    assert set(names(None)) == {*names("worker"), *names("client")}


def test_a_file_with_passwords_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "sleap-rtc.toml"
    file.write_text('[default]\nice_servers = [{urls = "turn:a", username = "u", credential = "canary-pw"}]')
    file.chmod(0o644)
    config = load_config(server=None, environ={}, cwd=tmp_path, settings=tmp_path)
    finding = config_finding(config)
    assert finding.level is Level.WARN
    assert "canary-pw" not in f"{finding}"
    file.chmod(0o600)
    assert config_finding(config).level is Level.OK


def test_a_folder_that_sets_the_server_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "sleap-rtc.toml").write_text('[default]\nsignaling_websocket = "ws://elsewhere:8080"')
    finding = config_finding(load_config(server=None, environ={}, cwd=tmp_path, settings=tmp_path))
    assert finding.level is Level.WARN
    assert "ws://elsewhere:8080 (sleap-rtc.toml [default])" in finding.detail


# -------- the server


@asynccontextmanager
async def our_server(tmp_path: Path) -> AsyncIterator[Server]:
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path / "data") as server:
        yield server


async def test_our_server_is_found_in_order(tmp_path: Path) -> None:
    async with our_server(tmp_path) as server:
        for check, url in (
            (check_websocket, server.ws_url),
            (check_http, server.http_url),
            (check_clock, server.http_url),
        ):
            assert (await check(url)).level is Level.OK


async def test_a_server_of_another_version_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc.doctor.server, "Join", partial(Join, versions=VersionRange(99, 99)))
    async with our_server(tmp_path) as server:
        finding = await check_websocket(server.ws_url)
        assert finding.level is Level.FAIL
        assert "99" in finding.detail
        assert finding.advice == "Install a newer sleap-rtc on the server."


def health_reply(**body: object) -> bytes:
    content = json.dumps({"status": "ok", "version": "9.9"} | body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


@pytest.mark.parametrize(
    ("protocol", "said", "advice"),
    [
        ({"oldest": 98, "newest": 99}, "speaks versions 98 to 99 of", "Install a newer sleap-rtc on this computer."),
        ({"oldest": 1, "newest": 1}, "speaks version 1 of", "Install a newer sleap-rtc on the server."),
        (2, "speaks version 2 of", "Install a newer sleap-rtc on the server."),
    ],
)
async def test_without_a_common_version_both_ranges_are_named(protocol: object, said: str, advice: str) -> None:
    async with answering(health_reply(protocol=protocol)) as where:
        finding = await check_http(f"http://{where}")
    assert finding.level is Level.FAIL
    assert said in finding.detail
    assert f"this sleap-rtc speaks {VERSIONS}" in finding.detail
    assert finding.advice == advice


async def test_a_newer_server_that_speaks_our_version_too_is_in_order() -> None:
    both = {"oldest": VERSIONS.oldest, "newest": VERSIONS.newest + 1, "preferred": 4}
    async with answering(health_reply(protocol=both, rooms=[])) as where:
        finding = await check_http(f"http://{where}")
    assert finding.level is Level.OK
    assert finding.detail == f"sleap-rtc 9.9, protocol version {VERSIONS.newest}"


async def test_no_server_says_how_to_start_one() -> None:
    finding = await check_websocket(f"ws://{CLOSED}")
    assert finding.level is Level.FAIL
    assert "connection refused" in finding.detail
    assert "sleap-rtc server" in (finding.advice or "")
    finding = await check_http(f"http://{CLOSED}")
    assert finding.level is Level.WARN
    assert "sleap-rtc server" in (finding.advice or "")
    assert (await check_clock(f"http://{CLOSED}")).level is Level.SKIP


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[str]:
    """Run a server that answers any data with these bytes; yields its host and port."""

    async def answer(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the client did not wait for it
            await stream.receive_some(4096)
            await stream.send_all(reply)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, answer, [listener]))
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"protocol": 1}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{"protocol": "3", "version": "0"}',
        b"SSH-2.0-OpenSSH_9\r\n",
        b"",
    ],
)
async def test_another_program_than_our_server_is_reported(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    # trio-websocket waits for ever for what is not HTTP
    monkeypatch.setattr(
        "rtc.transport.signaling.connection.UPGRADE_TIME", HANG_TIME if reply.startswith(b"HTTP") else 0.05
    )
    async with answering(reply) as where:
        assert (await check_http(f"http://{where}")).level is Level.WARN
        assert (await check_clock(f"http://{where}")).level is Level.SKIP
    async with answering(reply) as where:
        assert (await check_websocket(f"ws://{where}")).level is Level.FAIL


async def test_a_wrong_clock_is_reported_with_its_direction() -> None:
    head = f"HTTP/1.1 200 OK\r\nDate: {formatdate(1000, usegmt=True)}\r\nContent-Length: 0\r\n\r\n".encode()
    async with answering(head) as where:
        reply = await fetch_health(f"http://{where}")
    date = formatdate(1000, usegmt=True)
    assert reply.date == date
    ahead = clock_finding(Reply(200, b"", date, 1100.0, 1101.0))
    assert (ahead.level, ahead.detail) == (Level.WARN, "100 s ahead of the server's")
    assert "behind" in clock_finding(Reply(200, b"", date, 900.0, 901.0)).detail
    assert clock_finding(Reply(200, b"", date, 1000.0, 1020.0)).level is Level.OK
    assert clock_finding(Reply(200, b"", "yesterday", 0.0, 0.0)).level is Level.SKIP


# -------- datagrams


@pytest.mark.parametrize("destination", ["127.0.0.1", "no-such-host.invalid"])
async def test_datagrams_pass_on_this_machine(destination: str) -> None:
    assert (await udp.check_udp(destination)).level in (
        Level.OK,
        Level.WARN,
    )  # a warning where there is no network at all


async def test_udp_that_does_not_pass_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def elsewhere(_destination: str) -> str:
        return "192.0.2.1"  # no address of this machine, so it cannot be used

    monkeypatch.setattr(udp, "source_address", elsewhere)
    assert (await udp.check_udp("lab")).level is Level.FAIL


def stun_success(request: bytes) -> bytes:
    """Return the answer of a STUN server that sees this machine as 192.0.2.7:1234."""
    port, host = 1234 ^ (COOKIE >> 16), int.from_bytes(socket.inet_aton("192.0.2.7"), "big") ^ COOKIE
    attribute = b"\x00\x20\x00\x08\x00\x01" + port.to_bytes(2, "big") + host.to_bytes(4, "big")
    return b"\x01\x01" + len(attribute).to_bytes(2, "big") + request[4:20] + attribute


@asynccontextmanager
async def stun_server(answer: Callable[[int, bytes], bytes | None]) -> AsyncIterator[IceServer]:
    """Run a UDP server that answers its n-th request with the bytes that `answer` returns."""
    with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))

        async def serve() -> None:
            number = 0
            while True:
                request, sender = await sock.recvfrom(2048)
                number += 1
                if (reply := answer(number, request)) is not None:
                    await sock.sendto(reply, sender)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield IceServer(f"stun:127.0.0.1:{sock.getsockname()[1]}")
            nursery.cancel_scope.cancel()


async def test_a_stun_server_gets_a_real_request() -> None:
    async with stun_server(lambda _number, request: stun_success(request)) as server:
        finding = await udp.check_stun(server)
    assert (finding.level, finding.detail) == (Level.OK, "sees this machine as 192.0.2.7:1234")


async def test_a_stun_request_is_repeated_and_other_datagrams_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "RETRY_TIMES", (0.05, HANG_TIME))
    async with stun_server(lambda number, request: b"noise" if number == 1 else stun_success(request)) as server:
        assert (await udp.check_stun(server)).level is Level.OK


async def test_a_silent_stun_server_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "RETRY_TIMES", (0.05, 0.05))
    async with stun_server(lambda _number, _request: None) as server:
        finding = await udp.check_stun(server)
    assert finding.level is Level.FAIL
    assert "no answer" in finding.detail


@pytest.mark.parametrize(
    ("urls", "expected_detail"),
    [
        (f"stun:{CLOSED}", "closed"),
        ("stun:no-such-host.invalid", "cannot be reached"),
        ("stuns:lab:5349", "cannot be used"),
    ],
)
async def test_each_reason_why_a_stun_server_is_not_reached_is_reported(urls: str, expected_detail: str) -> None:
    finding = await udp.check_stun(IceServer(urls))
    assert finding.level is Level.FAIL
    assert expected_detail in finding.detail
    assert finding.advice
