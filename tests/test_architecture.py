"""The rules of the layout and of names that a program can check: who imports whom, and which words are used."""

import ast
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from protocol.faults import Fault, FaultCode
from rtc.command_line.generated_docs import PAGES
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError
from rtc.testing.limits import HANG_TIME

ROOT = Path(__file__).parents[1]
LEVELS = ("protocol", "actors", "rtc", "cli")
"""From the bottom to the top: each imports only what is below it."""
ASYNCIO = {"asyncio", "aiortc", "aioice", "trio_asyncio"}
ACTORS_MAY = {"trio", "attrs", "attr"}
PROTOCOL_MAY = {"attrs", "cattrs"}


@cache
def sources() -> tuple[Path, ...]:
    return (*(path for name in LEVELS[:3] for path in sorted((ROOT / name).rglob("*.py"))), ROOT / "cli.py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in sources()}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def imports_in(nodes: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that runs, in functions too; not those under `if TYPE_CHECKING`."""
    for node in nodes:
        if isinstance(node, ast.If) and is_type_checking(node.test):
            yield from imports_in(node.orelse)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.expr):  # there is none in an expression
            yield from imports_in(ast.iter_child_nodes(node))


def imported(tree: ast.Module, module: str, *, is_package: bool) -> set[str]:
    """The modules that this module imports, with relative imports resolved (PEP 328)."""
    found: set[str] = set()
    for node in imports_in([tree]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            package = module.split(".") if is_package else module.split(".")[:-1]
            above = package[: len(package) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            full = f"{base}.{alias.name}"
            found.add(full if full in modules() else base)
    return found


@cache
def imports_of(path: Path) -> frozenset[str]:
    return frozenset(imported(tree_of(path), module_of(path), is_package=path.name == "__init__.py"))


def folder_of(module: str) -> str:
    """The folder that a module of ours lies in: `rtc.transport.links` for `rtc.transport.links.link`."""
    is_folder = modules()[module].name == "__init__.py"
    return module if is_folder else module.rpartition(".")[0]


def folder_arrows() -> dict[str, dict[str, set[str]]]:
    """Which folder of `rtc/` imports which other, and the modules that do."""
    arrows: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module, path in modules().items():
        if module.startswith("rtc."):
            for other in imports_of(path):
                if other.startswith("rtc.") and other in modules() and folder_of(other) != folder_of(module):
                    arrows[folder_of(module)][folder_of(other)].add(module)
    return arrows


def below(folder: str) -> list[Path]:
    return [path for module, path in modules().items() if module == folder or module.startswith(f"{folder}.")]


def test_imports_are_found_as_python_finds_them() -> None:
    tree = ast.parse("""
from typing import TYPE_CHECKING
import typing
if TYPE_CHECKING:
    from rtc.worker import job
else:
    from rtc.runtime import root
if typing.TYPE_CHECKING:
    import aiortc
from . import manager
from ..files.channel import FileChannel
def later():
    from rtc.config import load
""")
    assert imported(tree, "rtc.transport.links.link", is_package=False) == {
        "typing",
        "rtc.runtime.root",
        "rtc.transport.links.manager",
        "rtc.transport.files.channel",
        "rtc.config.load",
    }
    tree = ast.parse("from .link import Link")
    assert imported(tree, "rtc.transport.links", is_package=True) == {"rtc.transport.links.link"}


# -------- who imports whom


def test_nobody_imports_upwards() -> None:
    level = {name: index for index, name in enumerate(LEVELS)}
    upwards = {
        (module, top)
        for module, path in modules().items()
        for top in tops_of(path)
        if level.get(top, -1) > level[module.partition(".")[0]]
    }
    assert upwards == {("rtc.__main__", "cli")}


def tops_of(path: Path) -> set[str]:
    """The top-level packages and modules that this file imports."""
    return {name.partition(".")[0] for name in imports_of(path)}


def test_folders_form_no_circle() -> None:
    try:
        TopologicalSorter(folder_arrows()).prepare()
    except CycleError as error:
        circle = error.args[1]
        steps = [folder_arrows()[one].get(two, set()) for two, one in pairwise(circle)]
        pytest.fail(f"{' <- '.join(circle)}, through {steps}")


FORBIDDEN = {
    "rtc.client": {"rtc.worker", "rtc.server", "rtc.runner", "rtc.api"},
    "rtc.api": {"rtc.worker", "rtc.server", "rtc.runner", "rtc.command_line"},
    "rtc.worker": {"rtc.client"},
    "rtc.server": {"rtc.client", "rtc.worker", "rtc.runner", "rtc.packages", "rtc.sleap_nn", "rtc.transport.webrtc"}
    | {"rtc.transport.links", "rtc.transport.files"},
    "rtc.runner": {"rtc.client", "rtc.worker", "rtc.server", "rtc.transport", "rtc.runtime", "rtc.terminal"},
    "rtc.transport": {"rtc.client", "rtc.worker", "rtc.server", "rtc.runner", "rtc.runtime", "rtc.terminal"},
    "rtc.packages": {"rtc.transport", "rtc.runner", "rtc.sleap_nn", "rtc.terminal", "rtc.config"},
    "rtc.terminal": {"rtc.transport", "rtc.runner", "rtc.sleap_nn", "rtc.packages"},
    "rtc.nearby": {"rtc.client", "rtc.worker", "rtc.server", "rtc.runner", "rtc.transport", "rtc.runtime"}
    | {"rtc.terminal", "rtc.invitations"},
    "rtc.invitations": {"rtc.client", "rtc.worker", "rtc.server", "rtc.runner", "rtc.terminal", "rtc.nearby"}
    | {"rtc.transport.webrtc", "rtc.transport.links", "rtc.transport.files"},
}


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_some_folders_do_not_know_each_other(folder: str) -> None:
    assert FORBIDDEN[folder] | {folder} <= set(modules()), "the rule is about folders that exist"
    for path in below(folder):
        for name in imports_of(path):
            assert not any(name == other or name.startswith(f"{other}.") for other in FORBIDDEN[folder]), path


def test_common_imports_no_other_folder() -> None:
    known = {name for path in below("rtc.common") for name in imports_of(path) if name.split(".")[0] == "rtc"}
    assert {name for name in known if not name.startswith("rtc.common")} == set()


def test_at_the_root_of_rtc_are_only_the_names_that_python_m_needs() -> None:
    assert {path.name for path in (ROOT / "rtc").glob("*.py")} == {"__init__.py", "__main__.py", "demo_data.py"}


SERIALIZERS = {
    "json",
    "orjson",
    "ujson",
    "simplejson",
    "jsonpickle",
    "msgpack",
    "cbor2",
    "yaml",
    "tomllib",
    "pickle",
} | {
    *("marshal", "shelve", "dill", "cloudpickle", "joblib", "cattrs", "plistlib", "xmlrpc"),
}
"""Modules that make objects of text or bytes, or text or bytes of objects."""
SERIALIZING_NAMES = {"JSONResponse", "literal_eval"}
"""Names of other modules that do so too."""
BORDERS = {
    "protocol.converter": ({"json", "cattrs"}, "the one converter"),
    "rtc.common.turn_json": (
        {"json", "cattrs"},
        "traces show every class of the actors with placeholders for secrets, and are read with limits off",
    ),
    "rtc.sleap_nn.json_values": (
        {"json"},
        "what sleap-nn prints, publishes and writes: it has NaN, and any field may be odd",
    ),
    "rtc.sleap_nn.convert_legacy": ({"json"}, "run by sleap-nn's Python, which has none of our modules"),
    "rtc.sleap_nn.explain_config": ({"json"}, "run by sleap-nn's Python, which has none of our modules"),
    "rtc.sleap_nn.export_schema": ({"json"}, "run by sleap-nn's Python, which has none of our modules"),
    "rtc.client.package_builder.slp_subprocess": (
        {"json"},
        "run by sleap-io's Python; it edits the JSON in SLEAP's projects",
    ),
    "rtc.client.restore_subprocess": ({"json"}, "run by a Python with h5py; it edits the JSON in predictions"),
    "rtc.runner.count_subprocess": ({"json"}, "run by sleap-nn's Python; it reads the JSON in predictions"),
    "rtc.client.package_builder.embed_subprocess": ({"json"}, "likewise"),
    "rtc.client.lossviewer.bridge": ({"json"}, "what SLEAP's own viewer reads, where a gap in a curve is NaN"),
    "rtc.demo.data": ({"yaml"}, "a package as SLEAP exports it"),
    "rtc.testing.stand_in": ({"yaml"}, "packages as SLEAP exports them"),
    "rtc.packages.safe_yaml": (
        {"json", "yaml"},
        "the training configurations and packages of SLEAP, of which we change a few settings and keep all others",
    ),
    "rtc.config.load": ({"tomllib"}, "the configuration file that people write"),
    "rtc.testing.sleap_nn_stand_in": ({"json", "yaml"}, "plays sleap-nn, with sleap-nn's own text and files"),
    "rtc.testing.terminals": ({"json"}, "reads what --json prints as a script would, without our classes"),
}
"""The only modules that may serialize by themselves: with what, and why the converter cannot do it."""


def serializers_of(tree: ast.Module) -> set[str]:
    """The serializers that a module imports or names, also in functions and under other names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names} & SERIALIZERS
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0]} & SERIALIZERS
            found |= {alias.name for alias in node.names} & SERIALIZING_NAMES
        elif isinstance(node, ast.Attribute):
            found |= {node.attr} & SERIALIZING_NAMES
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "json":
            found.add(".json()")
    return found


def test_only_the_converter_and_the_borders_to_other_programs_serialize() -> None:
    """An entry of `BORDERS` that is no longer needed must go, too."""
    found = {module: serializers_of(tree_of(path)) for module, path in modules().items()}
    assert {module: names for module, names in found.items() if names} == {
        module: names for module, (names, _) in BORDERS.items()
    }


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import json", {"json"}),
        ("def f():\n    import json.decoder as j", {"json"}),
        ("from pickle import loads", {"pickle"}),
        ("from starlette.responses import JSONResponse, Response", {"JSONResponse"}),
        ("import starlette.responses\nstarlette.responses.JSONResponse({})", {"JSONResponse"}),
        ("import ast\nast.literal_eval(text)", {"literal_eval"}),
        ("async def f(request):\n    return await request.json()", {".json()"}),
        ("from protocol.converter import to_json\nfrom rtc.terminal import json_view", set()),
    ],
)
def test_a_serializer_is_found_wherever_it_is(source: str, names: set[str]) -> None:
    assert serializers_of(ast.parse(source)) == names


def test_asyncio_stays_in_its_folder() -> None:
    assert {path.parent for path in sources() if ASYNCIO & tops_of(path)} == {ROOT / "rtc" / "transport" / "webrtc"}


def test_zeroconf_has_a_process_to_itself() -> None:
    """It runs an asyncio loop, and reads what anybody in the network sends."""
    assert {module for module, path in modules().items() if "zeroconf" in tops_of(path)} == {
        "rtc.nearby.service_process"
    }
    importers = {module for module, path in modules().items() if "rtc.nearby.service_process" in imports_of(path)}
    assert importers == set()


@pytest.mark.parametrize(("level", "allowed"), [("protocol", PROTOCOL_MAY), ("actors", ACTORS_MAY)])
def test_the_lower_levels_use_few_libraries(level: str, allowed: set[str]) -> None:
    tops = {top for path in below(level) for top in tops_of(path)}
    assert tops - sys.stdlib_module_names - set(LEVELS) <= allowed


def test_actors_meet_only_in_their_events() -> None:
    shared = {"events", "phase", "table", "actor", "mailbox", "router", "worker_limits", "offer_tags"}
    for path in (ROOT / "actors").glob("*.py"):
        known = {name.split(".")[1] for name in imports_of(path) if name.startswith("actors.")}
        own = path.stem.partition("_")[0]  # an actor may have several files: client.py, client_actions.py, …
        assert {name for name in known - shared if not name.startswith(f"{own}_")} == set(), path


SERVER = """
import sys
import cli
code = cli.run(sys.argv[1:])
print("loaded:", *sorted(sys.modules))
sys.exit(code)
"""


@pytest.mark.slow
def test_the_server_runs_without_webrtc_client_and_worker(tmp_path: Path) -> None:
    words = ["server", "--host", "127.0.0.1", "--ws-port", "0", "--http-port", "0", "--data", str(tmp_path)]
    command = [sys.executable, "-c", SERVER, *words]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SLEAP_RTC_")}
    environ |= {"HOME": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("Signalling at ws://127.0.0.1:")
            server.send_signal(signal.SIGINT)
            rest, _ = server.communicate(timeout=HANG_TIME)
        finally:
            server.kill()  # a server that has not ended would be waited for
    assert server.returncode == ExitCode.DONE
    loaded = set(rest.splitlines()[-1].split())
    assert {"loaded:", "trio", "rtc.server.signaling", "anycorn"} <= loaded
    assert not loaded & {"aiortc", "aioice", "av", "trio_asyncio", "zmq"}
    assert not loaded & {"rtc.transport.webrtc", "rtc.transport.links", "rtc.client", "rtc.worker"}


# -------- words

OLD_CLASSES = frozenset(
    """
    House Door Doors Doorman Front Home Way Narrator Errand Errands Desk Shelf Bench Window Visit Visitor Courier
    Luggage Recipe Stub Ticket Place Keeper Keeping Claim Feed Follower Tail Bridge Ladder Rung Sight Intake DataLane
    TransferLane IceGift Tally Board Flow Roster Region Quest Hold Post Seat Gauge Trusted Distrusted Offered TurnAway
    AtWindow Entered EnterFailed KnockAgain StartOver SendOn Doubtful NeverBegan Unanswered HungUp HomeAlone Thanked
    Lapsed StatusIs MemoryIs RosterIs Wanted Granted InLine StandDown Wait JobWishes JobWords FileWords LinkWords Heard
    Say Beat Bye Lines Shown WaitingLine Wire FakeWire Watch Standing
    """.split()  # noqa: SIM905 (a list to read)
)
OLD_WORDS = frozenset(
    """
    house houses doorman doormen narrator errand errands courier luggage recipe recipes keeper keeping desk shelf bench
    quest rung ladder heed heeded knock knocks tire roster tally checkup visitor visitors lane lanes intake gift gifts
    shelter sheltered stub stubs beside
    """.split()  # noqa: SIM905 (a list to read)
)
"""Parts of names, as in `open_house` and `HouseKeeper`."""
OLD_NAMES = frozenset(
    """
    take_up told most door doors front window visit visits claim claims opening standing launcher feed follower tail
    bell board flow region sight guard bridge hold seat quest wish wishes wished lap laps way order orders
    """.split()  # noqa: SIM905 (a list to read)
)
"""Whole names; as parts of longer ones, or in prose, they are plain words."""
ALLOWED = {
    ("rtc/terminal/json_events.py", "lap"),  # a field that docs/json-events.md promises
    ("rtc/client/lossviewer/bridge.py", "bridge"),  # LossViewer's bridge is the word of SLEAP's users
}


def parts(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def names_in(path: Path) -> Iterator[tuple[str, str]]:
    """Names of the module, its classes and their fields, its functions and their parameters."""
    yield "module", path.parent.name if path.name == "__init__.py" else path.stem
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            yield "class", node.name
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield "field", field.target.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield "function", node.name
        elif isinstance(node, ast.arg):
            yield "parameter", node.arg


def test_no_old_word_names_anything() -> None:
    old = {
        (str(path.relative_to(ROOT)), name.strip("_"))
        for path in sources()
        for kind, name in names_in(path)
        if is_old(kind, name.strip("_"))
    }
    assert old == ALLOWED, "see docs/glossary.md"


def is_old(kind: str, name: str) -> bool:
    return (kind == "class" and name in OLD_CLASSES) or name in OLD_NAMES or bool(OLD_WORDS & set(parts(name)))


NAMES_OF_THE_API = {"Job", "Room"}
"""Classes of `rtc.api`: its readers never see the inside of worker and server, where these words name a class too."""


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(tree_of(path)):
            is_of_api = module_of(path).startswith("rtc.api.") and getattr(node, "name", "") in NAMES_OF_THE_API
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not is_of_api:
                found[node.name].append(module_of(path))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def glossary() -> dict[str, str]:
    """Every word of ours with what docs/glossary.md says of it."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `?([^|`]+?)`? \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    return {word: f"{meaning} {source}" for word, meaning, source in rows if word not in ("word", "---")}


def test_the_glossary_names_classes_that_exist() -> None:
    classes = {node.name for path in sources() for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)}
    camel = {word for word in glossary() if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", word)}
    assert camel
    assert camel <= classes


def test_the_glossary_knows_every_folder_of_rtc() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in {module for module, path in modules().items() if path.name == "__init__.py"} - {"rtc"}:
        if folder.startswith("rtc."):
            assert f"`{folder.replace('.', '/')}/`" in text, folder


# -------- the rest


def test_the_generated_pages_are_fresh(tmp_path: Path) -> None:
    """A program of its own writes them: styles of rich keep the colours of the first terminal they were written to."""
    subprocess.run([sys.executable, "-m", "rtc.command_line.generated_docs", tmp_path], check=True, cwd=ROOT)
    stale = [name for name in PAGES if (tmp_path / name).read_bytes() != (ROOT / "docs" / name).read_bytes()]
    assert stale == [], "run `make docs`"


def test_every_fault_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(FaultCode)


def test_a_fault_survives_being_an_error() -> None:
    for code in FaultCode:
        fault = Fault(code, "A sentence.")
        assert RtcError.of(fault).fault == fault


def test_our_top_level_names_are_ours_alone() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in LEVELS:
        assert set(owners.get(name, ["sleap-rtc"])) == {"sleap-rtc"}


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["client", "--help"], ["client-train", "--help"], ["worker", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys; import cli; code = cli.run(sys.argv[1:]);"
        "heavy = {'torch', 'aiortc', 'trio', 'sleap_nn', 'numpy', 'rich'} & set(sys.modules);"
        "print('heavy:', sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Usage:" in done.stdout
    assert done.stdout.rstrip().endswith("heavy: []")


@pytest.mark.slow
def test_the_api_is_imported_without_anything_heavy() -> None:
    program = "import sys, rtc.api.blocking; print(sorted({names} & set(sys.modules)))"
    names = {"torch", "sleap_nn", "numpy", "asyncio", "aiortc", "trio_asyncio", "zmq", "IPython", "rtc.client.program"}
    command = [sys.executable, "-c", program.format(names=names)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_strangers_cli_in_the_working_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("raise SystemExit('the wrong cli')")
    done = subprocess.run(
        [sys.executable, "-m", "rtc", "--version"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == ExitCode.DONE, done.stderr
    assert re.match(r"sleap-rtc, version \d", done.stdout)
