"""Which checks there are, in the order in which people read them: this machine, then the way out of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from protocol.faults import Fault
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config
from rtc.config.show import masked_url
from rtc.doctor import folders, machine, server, settings, trainer, udp
from rtc.doctor.finding import Check, Finding, skip

CheckTurn = Callable[[IceServer], Check]


@frozen
class Aim:
    """What this machine is asked to be."""

    worker: bool
    client: bool
    worker_wanted: bool
    """The person asked for it: then a missing sleap-nn is a failure, and otherwise no news."""


AIMS = {
    None: Aim(worker=True, client=True, worker_wanted=False),
    "worker": Aim(worker=True, client=False, worker_wanted=True),
    "client": Aim(worker=False, client=True, worker_wanted=False),
}
"""By what `--as` says."""


def plan(config: Config | Fault, aim: Aim, *, cwd: Path, home: Path, turn: CheckTurn) -> list[Check]:
    """All checks for this aim; `turn` makes the one for a TURN server, which needs the asyncio room."""
    return [
        *_of_machine(config, aim),
        *_of_folders(aim, cwd, home / ".sleap-rtc"),
        *(_of_network(config, turn) if isinstance(config, Config) else _without_config()),
        *_of_trainer(aim),
    ]


def _of_machine(config: Config | Fault, aim: Aim) -> list[Check]:
    as_worker = aim.worker and (aim.worker_wanted or trainer.is_installed())
    checks = [
        Check("python", machine.check_python),
        Check("packages", partial(machine.check_packages, worker=as_worker), limit=machine.LOAD_TIME),
        Check("config", partial(settings.check_config, config)),
    ]
    if aim.worker:
        look = machine.check_gpu if as_worker else partial(_skipped, trainer.NOT_HERE)
        checks.append(Check("gpu", look, late=machine.GPU_LATE))
    return checks


def _of_folders(aim: Aim, cwd: Path, base: Path) -> list[Check]:
    needs: dict[str, tuple[Path, folders.Need]] = {"folder-logs": (base / "logs", folders.LOGS)}
    if aim.worker:
        needs["folder-work"] = (base / "work", folders.WORK)
        needs["folder-results"] = (base / "results", folders.RESULTS)
    if aim.client:
        needs["folder-output"] = (cwd, folders.OUTPUT)
    return [Check(name, partial(folders.check_folder, *need)) for name, need in needs.items()]


def _of_network(config: Config, turn: CheckTurn) -> list[Check]:
    host = urlsplit(config.signaling_websocket).hostname or ""
    websocket, http = config.signaling_websocket, config.signaling_http
    stun_servers = [server for server in config.ice_servers if not server.relays]
    turn_servers = [server for server in config.ice_servers if server.relays]
    return [
        Check("server-websocket", partial(server.check_websocket, websocket), websocket, late=server.START_ONE),
        Check("server-http", partial(server.check_http, http), http),
        Check("clock", partial(server.check_clock, http)),
        Check("udp", partial(udp.check_udp, host)),
        *(Check("stun", partial(udp.check_stun, one), masked_url(one.urls)) for one in stun_servers),
        *([] if stun_servers else [_unset("stun", "from behind different NATs")]),
        *map(turn, turn_servers),
        *([] if turn_servers else [_unset("turn", "where UDP is blocked, or a NAT is strict")]),
    ]


def _unset(kind: str, when: str) -> Check:
    detail = f"no {kind.upper()} server is configured"
    return Check(kind, partial(_skipped, detail, f"Name one in ice_servers if workers and clients meet {when}."))


def _of_trainer(aim: Aim) -> list[Check]:
    if not aim.worker:
        return []
    wanted = aim.worker_wanted
    limit, late = trainer.IMPORT_TIME, trainer.LATE
    return [
        Check("sleap-nn", partial(trainer.check_program, wanted=wanted), limit=limit, late=late),
        Check("sleap-nn-import", partial(trainer.check_imports, wanted=wanted), limit=limit, late=late),
    ]


def _without_config() -> list[Check]:
    def unknown(name: str, advice: str | None = None) -> Check:
        return Check(name, partial(_skipped, "the configuration cannot be read", advice))

    nothing_there = [unknown("server-websocket", server.START_ONE), unknown("server-http"), unknown("clock")]
    return [*nothing_there, Check("udp", partial(udp.check_udp, udp.LOOPBACK)), unknown("stun"), unknown("turn")]


async def _skipped(detail: str, advice: str | None = None) -> Finding:
    return skip(detail, advice)
