"""The client program: one wish, carried to one worker and back."""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from actors.actor import Actor
from actors.client import CLIENT
from actors.client_events import Quest
from actors.events import (
    Ask,
    Best,
    Direct,
    Drain,
    Entered,
    EnterFailed,
    FetchResult,
    Finished,
    Heard,
    LinkLost,
    OpenLink,
    Overdue,
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
    Ticket,
    Trusted,
    Wanted,
)
from actors.router import Route
from protocol.faults import FaultCode
from protocol.ids import JobId, LinkId, RoomId
from protocol.jobs import JobAccepted, JobKind, JobStarted, LogLines, ModelStarted, Progress, SubmitJob
from protocol.signaling import Granted, InLine, WorkerShown
from protocol.status import Role
from protocol.trust import Secret
from rtc import tickets
from rtc.app.house import House, Routes, open_house
from rtc.bridge import Bridge
from rtc.config import Config
from rtc.courier import Courier
from rtc.errors import ExitCode, RtcError
from rtc.jobs.package import inspect_package
from rtc.jobs.results import choose_output, final_losses
from rtc.lossviewer import LossViewer, open_lossviewer
from rtc.tickets import Stub
from rtc.transfer.names import safe_name
from rtc.view import open_view
from rtc.view.base import ClientView, Losses

NOTHING_WAITS = (FaultCode.CANCELLED, FaultCode.NO_SUCH_JOB)
"""Ends after which no result is left anywhere."""


@frozen
class ClientOrder:
    """What somebody who starts a client may say."""

    config: Config
    package: Path
    room: RoomId
    token: str = field(repr=False)
    choice: Direct | Best | Ask
    secret: Secret | None = None
    min_memory_mb: int = 0
    wait: float | None = None
    """Seconds to stand in line when every fitting worker is taken; `math.inf` for however long it takes."""
    output: Path | None = None
    kind: JobKind = JobKind.TRAIN
    ticket: Ticket | None = None
    """A job that was started before, to come back to instead of running a package."""
    tickets: Path | None = None
    """Where tickets of running jobs are kept; None: nowhere."""
    viewer_ports: tuple[int, int] | None = None
    """Where SLEAP's LossViewer publishes its commands and listens for progress (controller, publish); None: nowhere."""


@define
class Watch:
    """A client in a terminal, or on a pipe."""

    order: ClientOrder
    verbose: bool
    _began: bool = False

    async def run(self, bridge: Bridge, drain: trio.Event) -> None:
        """Have the package run, and show what happens."""
        async with open_view(terminal=sys.stdout.isatty(), verbose=self.verbose, out=sys.stdout) as view:
            await run_client(self.order, bridge=bridge, view=view, drain=drain, began=self._note)

    def stopped(self) -> ExitCode:
        """What a second Ctrl-C means: whether a job is left behind that runs on."""
        return ExitCode.DETACHED if self._began else ExitCode.INTERRUPTED

    def _note(self) -> None:
        self._began = True


async def run_client(
    order: ClientOrder,
    *,
    bridge: Bridge,
    view: ClientView,
    drain: trio.Event,
    began: Callable[[], None] = lambda: None,
) -> Path:
    """Have a package run by a worker; returns the folder with what it made. `began` is called when the job runs.

    Raises:
        RtcError: anything but a finished job with its result here; its exit code tells which.
    """
    choose = partial(choose_output, order.package, order.output)
    output = choose()
    submit = await _submission(order) if order.ticket is None else None
    front = _Front(view, order, began)
    async with open_house(
        bridge=bridge, config=order.config, role=Role.CLIENT, secret=order.secret, heard=front.heard, tap=front.tap
    ) as house:
        front.house = house
        house.adapters.start_soon(front.feed_viewer, order.viewer_ports)
        client = Actor(CLIENT, Quest(), house.router.outbox)
        courier = Courier(order.package, output, choose, order.config.chunk_size, house.links, house.router, view)
        house.route(_routes(client.inbox.put, courier, front))
        await house.adapters.start(courier.run)
        await house.actors.start(client.run)
        house.actors.start_soon(house.drain_when, drain)
        room_pass = RoomPass(Role.CLIENT, order.room, order.token)
        wanted = Wanted(
            room_pass,
            order.choice,
            submit,
            ticket=order.ticket,
            min_memory_mb=order.min_memory_mb,
            patience=order.config.connection_timeout,
            wait=order.wait is not None,
        )
        house.post(wanted)
        house.actors.start_soon(_lose_patience, house, order.wait)
        await house.finished.wait()
        last, output = house.last, courier.output
    models, losses = await trio.to_thread.run_sync(_made, output, courier.models)
    front.settle(last, home=bool(courier.models) or last.fault is None)
    if last.fault is not None:
        if courier.models or output.exists():
            view.step(f"What there is of it lies in {output}")
        raise RtcError.of(last.fault)
    view.finished(last.ended.text if last.ended else "Done.", output, models, losses)
    return output


async def _submission(order: ClientOrder) -> SubmitJob:
    """What is to be run, looked at before anything is sent."""
    await trio.to_thread.run_sync(inspect_package, order.package)
    size = (await trio.Path(order.package).stat()).st_size
    return SubmitJob(order.kind, safe_name(order.package.name), size)


async def _lose_patience(house: House, wait: float | None) -> None:
    """Tell the Client when the person has waited in line long enough."""
    await trio.sleep(math.inf if wait is None else wait)
    house.post(Overdue())


def _made(output: Path, folders: tuple[Path, ...]) -> tuple[tuple[str, ...], tuple[Losses, ...]]:
    found = {losses.model: losses for losses in final_losses(output)} if output.exists() else {}
    names = tuple(folder.name for folder in folders)
    return names, tuple(
        Losses(found[name].train, found[name].val) if name in found else Losses(None, None) for name in names
    )


def _routes(client: Route, courier: Courier, front: "_Front") -> Routes:
    heard = (
        Wanted,
        Picked,
        RosterIs,
        Granted,
        Overdue,
        StopWanted,
        Refused,
        LinkLost,
        Trusted,
        Heard,
        Entered,
        EnterFailed,
        Drain,
    )
    from_courier = (SendFailed, ResultSafe, ResultHere, ResultLost)
    return dict.fromkeys((*heard, *from_courier), (client,)) | {
        InLine: (),
        SendPackage: (courier.send,),
        FetchResult: (courier.fetch,),
        ShowRoster: (front.show_roster,),
    }


@define
class _Front:
    """Between the house and the person: what happens becomes lines of the view, and the view's answer an event."""

    view: ClientView
    order: ClientOrder
    began: Callable[[], None]
    house: House | None = None
    viewer: LossViewer | None = None
    _workers: tuple[WorkerShown, ...] = ()
    _changed: trio.Event = field(factory=trio.Event)
    _asking: bool = False
    _running: bool = False
    _job: JobId | None = None

    async def feed_viewer(self, ports: tuple[int, int] | None) -> None:
        """Keep a bridge to SLEAP's LossViewer, whose Stop is heard like any other wish."""
        if ports is None:
            return
        assert self.house is not None, "the bridge stands in a house"
        house = self.house
        async with open_lossviewer(
            controller=ports[0], publish=ports[1], stop=lambda: house.post(StopWanted())
        ) as self.viewer:
            await trio.sleep_forever()

    async def heard(self, house: House, link: LinkId, message: Any) -> None:
        """What the worker says of the job goes straight to the view; the rest is for the Client to decide on."""
        if self.viewer is not None:
            self.viewer.hear(message)
        if isinstance(message, ModelStarted | Progress | LogLines):
            self.view.news(message)
            await trio.lowlevel.checkpoint()
            return
        if isinstance(message, JobAccepted):
            self._keep_ticket(link, message)
        if isinstance(message, JobStarted):
            self._running = True
            self.began()
            self.view.started(message.models)
        await house.router.outbox.admit(Heard(link, message))

    def tap(self, effect: Any) -> None:
        """Tell the steps on the way."""
        match effect:
            case Entered():
                self.view.step(f"In room {effect.room} as {effect.peer}")
            case InLine():
                self.view.step(f"In line for a worker: place {effect.place} of {effect.of}")
            case OpenLink():
                self.view.step(f"Asking {effect.peer} for a link")
            case LinkLost() if self._running:
                self.view.warn("The link to the worker is lost; its job goes on. Trying to get back to it.")
            case ResultSafe() | Finished():
                self._running = False
            case Refused() if isinstance(self.order.choice, Ask):
                self._asking = False  # the person may choose again
                self.view.warn(f"{effect.peer}: {effect.fault.text}")
            case Trusted() if self.house is not None:
                path = self.house.links.path(effect.link)
                proof = "room secret proven on both sides" if effect.proven else "no room secret asked for"
                self.view.step(f"Linked to {effect.peer} ({path}, {proof})")
            case SendPackage():
                self.view.step(f"The worker takes the job, as {effect.job}")
            case _:
                return

    def _keep_ticket(self, link: LinkId, message: JobAccepted) -> None:
        """From now on the job can be come back to, whatever happens to this program."""
        self._job = message.job
        worker = self.house.links.peer(link) if self.house is not None else None
        if self.order.tickets is None or worker is None:
            return
        order = self.order
        stub = Stub(
            job=message.job,
            key=message.key,
            worker=worker,
            room=order.room,
            token=order.token,
            server=order.config.signaling_websocket,
            package=order.package.name,
        )
        try:
            tickets.keep(self.order.tickets, stub)
        except OSError as error:
            self.view.warn(f"The job's ticket cannot be kept ({error.strerror}): it cannot be come back to later.")

    def settle(self, last: Finished, *, home: bool) -> None:
        """The ticket of a job whose result is here is of no use; any other is said how to use."""
        if self._job is None or self.order.tickets is None:
            return
        over = home or last.ended is not None or (last.fault is not None and last.fault.code in NOTHING_WAITS)
        if over:
            tickets.forget(self.order.tickets, self._job)
        else:
            self.view.step(f"To come back to it: sleap-rtc attach {self._job}")

    def show_roster(self, effect: ShowRoster) -> None:
        """Let the person choose; a list that changes meanwhile is shown as it is now."""
        assert self.house is not None, "the roster comes from a house"
        self._workers = effect.workers
        self._changed.set()
        self._changed = trio.Event()
        if not self._asking:
            self._asking = True
            self.house.actors.start_soon(self._ask)

    async def _ask(self) -> None:
        assert self.house is not None, "asked from within a house"
        try:
            peer = await self.view.choose(lambda: self._workers, self._news)
        except RtcError as error:
            self.house.finish(Finished(error.fault))
            return
        self.house.post(Picked(peer))

    async def _news(self) -> None:
        await self._changed.wait()
