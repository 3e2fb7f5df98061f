"""The list of checks, in the order in which they are shown: first this machine, then the network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from protocol.faults import Fault
from rtc.config.folders import Folders
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config
from rtc.config.show import masked_url
from rtc.doctor import folders, machine, secrets, server, settings, sleap_nn, udp
from rtc.doctor.finding import Check, Finding, skip

MakeTurnCheck = Callable[[IceServer], Check]


@frozen
class Roles:
    """The roles for which this machine is checked."""

    worker: bool
    client: bool
    worker_required: bool
    """Whether the person requested the role worker. Then a missing sleap-nn is a failure; otherwise it is skipped."""


ROLES = {
    None: Roles(worker=True, client=True, worker_required=False),
    "worker": Roles(worker=True, client=False, worker_required=True),
    "client": Roles(worker=False, client=True, worker_required=False),
}
"""The roles for each value of `--as`."""


def all_checks(
    config: Config | Fault, roles: Roles, *, cwd: Path, user_folders: Folders, make_turn_check: MakeTurnCheck
) -> list[Check]:
    """Return all checks for these roles.

    Args:
        config: the configuration, or the reason why it cannot be read.
        cwd: the working folder.
        user_folders: the folders of this user.
        make_turn_check: returns the check of one TURN server, which needs the asyncio loop and so comes from outside.
    """
    return [
        *_machine_checks(config, roles),
        *_folder_checks(roles, cwd, user_folders),
        *(_network_checks(config, make_turn_check) if isinstance(config, Config) else _network_checks_without_config()),
        *_sleap_nn_checks(roles),
    ]


def _machine_checks(config: Config | Fault, roles: Roles) -> list[Check]:
    as_worker = roles.worker and (roles.worker_required or sleap_nn.is_installed())
    checks = [
        Check("python", machine.check_python),
        Check("packages", partial(machine.check_packages, worker=as_worker), timeout=machine.LOAD_TIME),
        Check("config", partial(settings.check_config, config)),
    ]
    if roles.worker:
        check_gpu = machine.check_gpu if as_worker else partial(_skipped, sleap_nn.NOT_INSTALLED)
        checks.append(Check("gpu", check_gpu, timeout_advice=machine.GPU_TIMEOUT_ADVICE))
    return checks


def _folder_checks(roles: Roles, cwd: Path, user_folders: Folders) -> list[Check]:
    purposes: dict[str, tuple[Path, folders.FolderPurpose]] = {"folder-logs": (user_folders.logs, folders.LOGS)}
    if roles.worker:
        purposes["folder-work"] = (user_folders.work, folders.WORK)
        purposes["folder-results"] = (user_folders.results, folders.RESULTS)
    if roles.client:
        purposes["folder-output"] = (cwd, folders.OUTPUT)
    checks = [Check(name, partial(folders.check_folder, *purpose)) for name, purpose in purposes.items()]
    checks.append(Check("folder-settings", partial(settings.check_settings_folder, user_folders)))
    checks.append(Check("folder-old", partial(settings.check_old_folders, user_folders)))
    return [*checks, Check("secrets", partial(secrets.check_secrets, user_folders.settings))]


def _network_checks(config: Config, make_turn_check: MakeTurnCheck) -> list[Check]:
    host = urlsplit(config.signaling_websocket).hostname or ""
    websocket, http = config.signaling_websocket, config.signaling_http
    stun_servers = [server for server in config.ice_servers if not server.relays]
    turn_servers = [server for server in config.ice_servers if server.relays]
    return [
        Check(
            "server-websocket",
            partial(server.check_websocket, websocket),
            websocket,
            timeout_advice=server.START_SERVER,
        ),
        Check("server-http", partial(server.check_http, http), http),
        Check("clock", partial(server.check_clock, http)),
        Check("udp", partial(udp.check_udp, host)),
        *(Check("stun", partial(udp.check_stun, one), masked_url(one.urls)) for one in stun_servers),
        *([] if stun_servers else [_not_configured("stun", "from behind different NATs")]),
        *map(make_turn_check, turn_servers),
        *([] if turn_servers else [_not_configured("turn", "where UDP is blocked, or a NAT is strict")]),
    ]


def _not_configured(kind: str, where: str) -> Check:
    detail = f"no {kind.upper()} server is configured"
    return Check(kind, partial(_skipped, detail, f"Name one in ice_servers if workers and clients meet {where}."))


def _sleap_nn_checks(roles: Roles) -> list[Check]:
    if not roles.worker:
        return []
    required = roles.worker_required
    timeout, timeout_advice = sleap_nn.IMPORT_TIME, sleap_nn.TIMEOUT_ADVICE
    return [
        Check(
            "sleap-nn",
            partial(sleap_nn.check_program, required=required),
            timeout=timeout,
            timeout_advice=timeout_advice,
        ),
        Check(
            "sleap-nn-import",
            partial(sleap_nn.check_imports, required=required),
            timeout=timeout,
            timeout_advice=timeout_advice,
        ),
    ]


def _network_checks_without_config() -> list[Check]:
    def unknown(name: str, advice: str | None = None) -> Check:
        return Check(name, partial(_skipped, "the configuration cannot be read", advice))

    server_checks = [unknown("server-websocket", server.START_SERVER), unknown("server-http"), unknown("clock")]
    return [*server_checks, Check("udp", partial(udp.check_udp, udp.LOOPBACK)), unknown("stun"), unknown("turn")]


async def _skipped(detail: str, advice: str | None = None) -> Finding:
    return skip(detail, advice)
