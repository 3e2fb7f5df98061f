"""Saves and removes tickets for a running client."""

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from actors.events import RemoveTicket, SaveTicket, TicketNotSaved
from rtc.client import tickets
from rtc.client.options import ClientOptions
from rtc.client.tickets import JobTicket
from rtc.packages.original_paths import OriginalPaths
from rtc.terminal.interface import ClientView


@frozen
class TicketFolder:
    """Saves and removes the ticket of one client's job, as the Client orders.

    A failure is only a warning, unless the client is to leave its job: then the Client hears of it.
    """

    options: ClientOptions
    view: ClientView
    post: Callable[[Any], None]
    """Sends an event to the Client."""
    paths: OriginalPaths = field(factory=OriginalPaths)
    """The original paths of the job's package."""

    def save(self, effect: SaveTicket) -> None:
        """Save the ticket of an accepted job, so that a later client can attach to it."""
        options = self.options
        if options.tickets_folder is None:
            return
        ticket = JobTicket(
            job=effect.credential.job,
            key=effect.credential.key,
            worker=effect.worker,
            room=options.room,
            token=options.token,
            server=options.config.signaling_websocket,
            package=options.package.name,
            kind=options.kind,
            output="" if options.output is None else str(options.output.absolute()),
        )
        try:
            tickets.save(options.tickets_folder, ticket, self.paths)
        except OSError as error:
            text = (
                f"The job's ticket cannot be saved ({error.strerror}): sleap-rtc attach will not find this job later."
            )
            if options.detach:
                text += " So this client stays with it."
                self.post(TicketNotSaved())
            self.view.warn(text)

    def remove(self, effect: RemoveTicket) -> None:
        """Remove the ticket of a job of which nothing is left to fetch."""
        if self.options.tickets_folder is None:
            return
        try:
            tickets.delete(self.options.tickets_folder, effect.job)
        except OSError as error:
            self.view.warn(
                f"The job's ticket cannot be removed ({error.strerror}): sleap-rtc jobs goes on listing the job."
            )
