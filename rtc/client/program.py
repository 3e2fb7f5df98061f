"""The client program: one wish, carried to one worker and back."""

import math
import signal
import sys
from functools import partial
from pathlib import Path

import trio
from attrs import define, evolve

from actors.actor import Actor
from actors.client import CLIENT
from actors.client_events import Quest
from actors.events import (
    CancelWanted,
    Claim,
    Drain,
    Entered,
    EnterFailed,
    FetchResult,
    Finished,
    Heard,
    LinkLost,
    Overdue,
    PackageSent,
    Picked,
    Refused,
    ResultHere,
    ResultLost,
    ResultSafe,
    RoomPass,
    RosterIs,
    SendFailed,
    SendPackage,
    ShowRoster,
    StopWanted,
    Trusted,
    Wanted,
)
from actors.router import Route
from protocol.faults import FaultCode
from protocol.jobs import JobKind, SubmitJob
from protocol.signaling import Granted, InLine
from protocol.status import Role
from rtc.client.file_transfers import Courier
from rtc.client.options import ClientOrder, of_a_job
from rtc.client.presenter import UNBEGUN, Front
from rtc.client.result_folder import Home, choose_home
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError
from rtc.packages.plan import inspect_package
from rtc.runtime.peer_runtime import House, Routes, open_house
from rtc.runtime.root import complain
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, Mode
from rtc.transport.files.file_names import safe_name
from rtc.transport.webrtc import Bridge

__all__ = ["ClientOrder", "Watch", "run_client"]


@define
class Watch:
    """A client in a terminal, or on a pipe."""

    order: ClientOrder
    mode: Mode = Mode.NORMAL
    _front: Front | None = None

    async def run(self, bridge: Bridge, drain: trio.Event) -> None:
        """Have the package run, and show what happens."""
        asks = self.order.on_interrupt is None
        with trio.CancelScope() as decided:
            async with open_view(terminal=sys.stdout.isatty(), mode=self.mode, out=sys.stdout, asks=asks) as view:
                self._front = Front(view, self.order, decided)
                await run_client(self.order, bridge=bridge, view=view, drain=drain, front=self._front)

    def heed(self, number: int) -> bool:
        """Whether this signal is no wish to leave, but the beginning of a question or an order to the worker.

        SIGTERM asks nobody: it leaves, unless `--on-interrupt` says otherwise. So does a closed terminal.
        """
        asks = number == signal.SIGINT or (number == signal.SIGTERM and self.order.on_interrupt is not None)
        return asks and self._front is not None and self._front.interrupted()

    def stopped(self) -> ExitCode:
        """What leaving at once means: whether a job is left behind that runs on."""
        fault = UNBEGUN if self._front is None else self._front.left
        complain(fault.text)
        return EXIT_CODES[fault.code]


async def run_client(
    order: ClientOrder,
    *,
    bridge: Bridge,
    view: ClientView,
    drain: trio.Event,
    front: Front | None = None,
) -> Path:
    """Have a package run by a worker, or come back to a job; returns where what it made lies.

    Raises:
        RtcError: anything but a finished job with its result here; its exit code tells which.
    """
    front = front or Front(view, order)
    try:
        return await _run(order, bridge, view, drain, front)
    except RtcError as error:
        front.decided.shield = True
        told = error if order.ticket is None else of_a_job(error)
        view.failed(told.fault, front.made)
        raise told from None


async def _run(order: ClientOrder, bridge: Bridge, view: ClientView, drain: trio.Event, front: Front) -> Path:
    home = await trio.to_thread.run_sync(choose_home, order)
    submit = await _submission(order, view) if order.ticket is None else None
    async with open_house(
        bridge=bridge, config=order.config, role=Role.CLIENT, secret=order.secret, heard=front.heard, tap=front.tap
    ) as house:
        front.house = house
        try:
            courier = Courier(order.package, home, order.config.chunk_size, house.links, house.router, view)
            last = await _follow(house, courier, front, _wanted(order, submit), drain)
        except trio.Cancelled:
            front.leave()
            raise
        front.decided.shield = True
    front.settle(last, home=home.filled)
    return await _come_home(last, home, front)


async def _follow(house: House, courier: Courier, front: Front, wanted: Wanted, drain: trio.Event) -> Finished:
    """From the wish to its end."""
    house.adapters.start_soon(front.feed_viewer, front.order.viewer_ports)
    client = Actor(CLIENT, Quest(), house.router.outbox)
    house.route(_routes(client.inbox.put, courier, front))
    await house.adapters.start(courier.run)
    await house.actors.start(client.run)
    house.actors.start_soon(house.drain_when, drain)
    house.post(wanted)
    house.actors.start_soon(_lose_patience, house, front.order.wait)
    await house.finished.wait()
    return house.last


async def _come_home(last: Finished, home: Home, front: Front) -> Path:
    """The last words: what is here, and why there is no more."""
    order, view = front.order, front.view
    text = last.ended.text if last.ended is not None else "Done."
    ending = await trio.to_thread.run_sync(home.ending, text, order.package.name)
    if home.trouble:
        view.warn(home.trouble)
    seen = not order.fetch and last.ended is not None  # however it ended, it was watched to its end
    if last.fault is not None and not seen:
        front.made = evolve(ending, folder=home.place) if home.filled else None
        raise RtcError.of(last.fault)
    view.finished(ending)
    return home.place


async def _submission(order: ClientOrder, view: ClientView) -> SubmitJob:
    """What is to be run, looked at before anything is sent.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: it cannot be run so.
    """
    look = partial(inspect_package, overrides=order.overrides)
    plan = await trio.to_thread.run_sync(look, order.package)
    if plan.kind is not order.kind:
        does, command = ("trains", "train") if plan.kind is JobKind.TRAIN else ("predicts", "track")
        name = order.package.name
        raise RtcError(FaultCode.USAGE, f"{name} is a package that {does}. Use: sleap-rtc client {command}")
    for note in plan.notes:
        view.warn(note)
    size = (await trio.Path(order.package).stat()).st_size
    return SubmitJob(order.kind, safe_name(order.package.name), size, order.overrides)


def _wanted(order: ClientOrder, submit: SubmitJob | None) -> Wanted:
    return Wanted(
        RoomPass(Role.CLIENT, order.room, order.token),
        order.choice,
        submit,
        ticket=order.ticket,
        fetch=order.fetch,
        min_memory_mb=order.min_memory_mb,
        patience=order.config.connection_timeout,
        wait=order.wait is not None,
    )


async def _lose_patience(house: House, wait: float | None) -> None:
    """Tell the Client when the person has waited in line long enough."""
    await trio.sleep(math.inf if wait is None else wait)
    house.post(Overdue())


def _routes(client: Route, courier: Courier, front: Front) -> Routes:
    said = (Wanted, Picked, Overdue, StopWanted, CancelWanted, Drain)
    from_links = (RosterIs, Granted, Refused, LinkLost, Trusted, Heard, Entered, EnterFailed)
    from_courier = (SendFailed, PackageSent, ResultSafe, ResultHere, ResultLost)
    return dict.fromkeys((*said, *from_links, *from_courier), (client,)) | {
        InLine: (),
        Claim: (front.claim,),
        SendPackage: (courier.send,),
        FetchResult: (courier.fetch,),
        ShowRoster: (front.show_roster,),
    }
