"""`sleap-rtc doctor`: run the checks of this machine and its connection to the server, and print the reports.

The asyncio loop is started, and aiortc imported, only if a TURN server is to be checked: aiortc itself may be what is
broken.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

from protocol.faults import Fault
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.folders import Folders
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config, load_config
from rtc.config.server_url import server_url
from rtc.config.show import masked_url
from rtc.doctor.finding import Check, Finding, Level, Report, fail, run_checks
from rtc.doctor.machine import REINSTALL
from rtc.doctor.plan import MakeTurnCheck, Roles, all_checks
from rtc.doctor.show import name_width, report_line, reports_json, summary
from rtc.runtime.root import run_root, run_until_signal


@frozen
class DoctorOptions:
    """The options of one run of `sleap-rtc doctor`."""

    config: Config | Fault
    """The configuration, or the reason why it cannot be read."""
    roles: Roles
    cwd: Path
    """The working folder."""
    folders: Folders
    """The folders of this user."""
    as_json: bool = False


def read_config_or_fault(server: str | None, environ: Mapping[str, str], cwd: Path, settings: Path) -> Config | Fault:
    """Return the configuration, or the fault if it cannot be read: this is a finding, and the other checks go on.

    Args:
        server: the value of `--server`.

    Raises:
        RtcError: USAGE: `server` is not an address.
    """
    address = server_url(server) if server else None
    try:
        return load_config(server=address, environ=environ, cwd=cwd, settings=settings)
    except RtcError as error:
        return error.fault


def run(options: DoctorOptions) -> int:
    """Run all checks and print the reports; return the exit code: 0 if no check failed, 1 otherwise."""
    secrets = options.config.credentials if isinstance(options.config, Config) else ()
    return run_root("doctor", partial(run_until_signal, partial(_run_checks, options)), secrets=secrets)


async def _run_checks(options: DoctorOptions) -> int:
    """Run the checks and return the exit code."""
    reports = await _check_and_print(options)
    failed = any(report.finding.level is Level.FAIL for report in reports)
    return ExitCode.JOB_FAILED if failed else ExitCode.DONE


async def _check_and_print(options: DoctorOptions) -> list[Report]:
    """Run the checks and print each report when it is there, or one JSON array at the end."""
    reports: list[Report] = []
    lines = LineWriter(sys.stdout)
    async with _open_turn_checks(options.config) as make_turn_check:
        checks = all_checks(
            options.config,
            options.roles,
            cwd=options.cwd,
            user_folders=options.folders,
            make_turn_check=make_turn_check,
        )
        width = name_width(checks)

        def on_report(report: Report) -> None:
            reports.append(report)
            if not options.as_json:
                lines.say(report_line(report, width))

        await run_checks(checks, on_report)
    lines.say(reports_json(reports) if options.as_json else summary(reports))
    return reports


@asynccontextmanager
async def _open_turn_checks(config: Config | Fault) -> AsyncIterator[MakeTurnCheck]:
    """Yield the function that returns the check of a TURN server; the asyncio loop runs meanwhile if there is one."""
    if isinstance(config, Fault) or not any(server.relays for server in config.ice_servers):
        yield _check_without_aiortc
        return
    try:
        from rtc.doctor.turn import check_turn
        from rtc.transport.webrtc import open_asyncio_loop
    except ImportError:
        yield _check_without_aiortc
        return
    async with open_asyncio_loop() as asyncio_loop:
        yield lambda server: Check("turn", partial(check_turn, server, asyncio_loop), masked_url(server.urls))


def _check_without_aiortc(server: IceServer) -> Check:
    return Check("turn", _report_no_aiortc, masked_url(server.urls))


async def _report_no_aiortc() -> Finding:
    return fail("aiortc does not load here, so it cannot be tried", REINSTALL)
