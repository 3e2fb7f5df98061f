"""The doctor program: looks at this machine and at the way to the server, and says what to do.

It does without the asyncio room unless a TURN server is to be tried: aiortc may be the very thing that is broken.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from attrs import frozen

from protocol.faults import Fault
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config, load_config
from rtc.config.server_url import server_url
from rtc.config.show import masked_url
from rtc.doctor.finding import Check, Finding, Level, Report, fail, run_checks
from rtc.doctor.machine import REINSTALL
from rtc.doctor.plan import Aim, CheckTurn, plan
from rtc.doctor.show import report_line, reports_json, summary, widest
from rtc.runtime.root import handle_signals, run_root, stop_when


@frozen
class DoctorOptions:
    """What somebody who asks the doctor may say."""

    config: Config | Fault
    """The settings, or why they cannot be read."""
    aim: Aim
    cwd: Path
    home: Path
    as_json: bool = False


def read_config(server: str | None, environ: Mapping[str, str], cwd: Path, home: Path) -> Config | Fault:
    """The settings; a mistake in them is a finding here, and the other checks go on.

    Raises:
        RtcError: USAGE: `server`, as typed for `--server`, is no address.
    """
    address = server_url(server) if server else None
    try:
        return load_config(server=address, environ=environ, cwd=cwd, home=home)
    except RtcError as error:
        return error.fault


def examine(options: DoctorOptions) -> int:
    """Run all checks and print what they found; 0 when none failed, 1 otherwise."""
    secrets = options.config.credentials if isinstance(options.config, Config) else ()
    return run_root("doctor", partial(_supervise, options), secrets=secrets)


async def _supervise(options: DoctorOptions) -> int:
    drain = trio.Event()
    reports: list[Report] | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(handle_signals, drain, nursery.cancel_scope)
        nursery.start_soon(stop_when, drain, nursery.cancel_scope)
        reports = await run_doctor(options)
        nursery.cancel_scope.cancel()
    if reports is None:
        return ExitCode.INTERRUPTED
    failed = any(report.finding.level is Level.FAIL for report in reports)
    return ExitCode.JOB_FAILED if failed else ExitCode.DONE


async def run_doctor(options: DoctorOptions) -> list[Report]:
    """Check, and print: line by line for people, all at the end for scripts."""
    reports: list[Report] = []
    lines = LineWriter(sys.stdout)
    async with _turn_checks(options.config) as turn:
        checks = plan(options.config, options.aim, cwd=options.cwd, home=options.home, turn=turn)
        width = widest(checks)

        def told(report: Report) -> None:
            reports.append(report)
            if not options.as_json:
                lines.say(report_line(report, width))

        await run_checks(checks, told)
    lines.say(reports_json(reports) if options.as_json else summary(reports))
    return reports


@asynccontextmanager
async def _turn_checks(config: Config | Fault) -> AsyncIterator[CheckTurn]:
    """Makes the checks of TURN servers, with the asyncio room open when there are any."""
    if isinstance(config, Fault) or not any(server.relays for server in config.ice_servers):
        yield _unloadable
        return
    try:
        from rtc.doctor.relay import check_turn
        from rtc.transport.webrtc import open_asyncio_loop
    except ImportError:
        yield _unloadable
        return
    async with open_asyncio_loop() as asyncio_loop:
        yield lambda server: Check("turn", partial(check_turn, server, asyncio_loop), masked_url(server.urls))


def _unloadable(server: IceServer) -> Check:
    return Check("turn", _cannot_load, masked_url(server.urls))


async def _cannot_load() -> Finding:
    return fail("aiortc does not load here, so it cannot be tried", REINSTALL)
