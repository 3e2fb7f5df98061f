"""A client refuses a setting, or only doubts it, by what the workers of the room have; it asks only when in doubt."""

from types import SimpleNamespace

import pytest
import trio

import rtc.client.program as program
from actors.events import AskPerson, NamedWorker, WorkerCalled
from protocol.faults import FaultCode
from protocol.ids import PeerId, RoomId
from protocol.jobs import JobKind
from rtc.common.errors import RtcError
from rtc.packages.config_schema import known_schemas
from rtc.testing.stand_in import make_package

KNOWN = known_schemas()[0].version


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Return a function that prepares a job with overrides, in a room of workers with these versions of sleap-nn."""
    package = make_package(tmp_path / "p.zip")
    warned = []

    async def run(*overrides, versions=(), choice=None, fault=None):
        async def list_workers(*_arguments):
            if fault == "silence":
                await trio.sleep_forever()
            if fault is not None:
                raise RtcError(fault, "no list")
            return tuple(
                SimpleNamespace(peer=PeerId(f"p{index}"), facts=SimpleNamespace(name=f"w{index}", sleap_nn=version))
                for index, version in enumerate(versions)
            )

        monkeypatch.setattr(program, "list_workers", list_workers)
        options = SimpleNamespace(
            package=package,
            overrides=overrides,
            give_up_after=None,
            kind=JobKind.TRAIN,
            config=None,
            room=RoomId("r"),
            token="t",
            choice=choice or AskPerson(),
        )
        warned.clear()
        await program._prepare_submit(options, SimpleNamespace(warn=warned.append))
        return list(warned)

    return run


async def test_a_right_setting_asks_nobody(prepare):
    assert await prepare("trainer_config.max_epochs=5", fault=FaultCode.SERVER_LOST) == []


@pytest.mark.parametrize(
    "room",
    [
        {"versions": (KNOWN, KNOWN)},
        {"versions": ()},
        {"fault": FaultCode.SERVER_LOST},
        {"fault": FaultCode.ROOM_DENIED},
        {"fault": "silence"},
        {"versions": ("99.0", KNOWN), "choice": NamedWorker(PeerId("p1"))},
        {"versions": ("99.0", KNOWN), "choice": WorkerCalled("w1")},
    ],
)
async def test_a_misspelt_setting_is_refused(prepare, room, autojump_clock):
    with pytest.raises(RtcError, match="did you mean") as caught:
        await prepare("trainer_config.max_epoch=5", **room)
    assert caught.value.fault.code is FaultCode.USAGE


@pytest.mark.parametrize("versions", [("99.0",), ("unknown",), (KNOWN, "99.0")])
async def test_a_worker_with_another_version_may_know_it(prepare, versions):
    (text,) = await prepare("trainer_config.max_epoch=5", versions=versions)
    assert "did you mean trainer_config.max_epochs" in text
    assert text.endswith("so it is sent.")
