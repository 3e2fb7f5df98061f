"""The rules that hold in every world of the two-party model, and in those in which nothing happens any more."""

from actors.phase import Phase
from protocol.jobs import Outcome
from protocol.status import Status

from .explore import Explored, Model, explore, is_home
from .world import Budget, JobModel, ModelError, World

NOTHING_LEFT = "nothing was left on the worker"
"""What a client says that is sure of it."""
ONLY_IT_KNOWS = "only the worker knows"
"""What a client says that is not."""


def check_world(world: World) -> None:
    """Check what holds at each moment."""
    promises = [
        pair.worker.link
        for pair in world.links
        if pair.worker is not None
        and pair.worker.alive
        and not pair.worker.closing
        and all(pair.worker.link != link for link, _ in world.sessions)
    ]
    held = [job for job in world.jobs if job.stage in ("receiving", "complete")]
    assert len(promises) + len(world.rivals) + len(held) <= 1, "the worker is promised to two jobs"
    assert not promises or all(job.stage != "running" for job in world.jobs), "a busy worker is promised to a job"
    assert all(job.started <= 1 for job in world.jobs), "a job is started twice"
    assert sum(job.started for job in world.jobs) <= 1, "two jobs are started for one wish"
    assert world.unpacked <= 1, "a result is unpacked twice"
    finished = world.finished
    if finished is not None and finished.left is not None:
        assert finished.left not in world.removed, "a job is left whose ticket is removed"


def owned(model: Model, world: World) -> list[JobModel]:
    """Return the jobs of this client: the one that it wants to attach to, and those that a worker has accepted."""
    credential = getattr(model.setting.wanted, "credential", None)
    existing = [job for job in world.jobs if credential is not None and job.key == credential.key]
    return [*existing, *(job for job in world.jobs if job.job in world.saved)]


def something_is_left(world: World, job: JobModel) -> bool:
    """Return whether a later client could fetch something of a job."""
    return not world.unpacked and (job.stage in ("running", "elsewhere") or (job.stage == "ended" and job.result))


def check_quiet(model: Model, world: World) -> None:
    """Check what holds when nothing happens any more."""
    assert is_home(world), "nothing happens any more, and not everything is over"
    finished, wanted = world.finished, model.setting.wanted
    left = [job.job for job in owned(model, world) if something_is_left(world, job)]
    if finished is None or model.setting.table.name != "client":
        return
    if NOTHING_LEFT in (finished.fault.text if finished.fault else ""):
        assert not left, "something is left, although the person heard that nothing is"
    assert world.ending is not None, "the client has ended"
    phase, row = world.ending
    if "give_up_upload" not in row:
        # The exception: the order to cancel may come too late, or be lost with the link, just when the last byte of
        # the package had arrived and nothing of the job had reached the client. It says then only what it has done.
        assert not set(left) & set(world.removed), "the ticket of a job is removed of which something is left"
        not_reached = wanted.credential is not None and phase.status is Status.RESERVED
        assert not left or not_reached or not wanted.fetch or finished.left in left, "a job is left and not named"
    budget = model.setting.budget
    may_be_gone = budget.mishaps or budget.restarts or ONLY_IT_KNOWS in str(finished.fault)
    if finished.left is not None and not may_be_gone:
        assert model.job(world, finished.left).stage != "gone", "a job is left that the worker has dropped"
    if finished.fault is None and wanted.detach and not world.unpacked:
        assert finished.left is not None, "a client is content to leave its job, and names none"
        assert model.job(world, finished.left).started == 1, "a client is content to leave a job that never ran"
        assert not world.unsaved, "a client has left a job to which it has no ticket"
    elif finished.fault is None and wanted.fetch and wanted.follow:
        assert finished.ended is not None, "a client is content, and knows of no end of its job"
        assert finished.ended.outcome is Outcome.DONE, "a client is content with a job that did not succeed"
        assert world.unpacked == 1, "a client is content without the result"
    only_breaks = model.setting.budget == Budget(breaks=1)
    if model.setting.succeeds and (world.budget == model.setting.budget or only_breaks):
        assert finished.fault is None, "nobody disturbed the client, or only a link broke, and it failed"


def end_of(world: World) -> str:
    """Return in a few words how a wish has ended for the person."""
    finished = world.finished
    assert finished is not None, "the client has ended"
    if finished.fault is not None:
        words = [finished.fault.code.value]
    else:
        without_end = "caught up" if finished.left is None else "runs"
        words = [without_end if finished.ended is None else finished.ended.outcome.value]
    words += ["result here"] if world.unpacked else []
    words += ["job left"] if finished.left is not None else []
    words += ["ticket removed"] if world.removed else []
    words += [f"{world.reported} answers"] if world.reported else []
    return ", ".join(words)


class Rules:
    """Checks the worlds of a setting as they are found, and then all of them together."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.endings: dict[tuple[Phase, str], set[tuple[bool, bool]]] = {}
        """For each phase and row with which a client ended: whether it named a job as left, and whether it was."""
        self.ends: set[str] = set()
        """All ways in which the wish has ended."""

    def explore(self, limit: int) -> Explored:
        """Explore the setting, and check everything.

        Raises:
            ModelError: something is not as it is to be; its text has the shortest way there.
        """
        explored = explore(self.model, limit, check=check_world)
        quiet = explored.quiet
        for number in quiet:
            try:
                check_quiet(self.model, explored.worlds[number])
            except AssertionError as error:
                raise self._error(explored, number, str(error)) from error
            self._note_ending(explored.worlds[number])
            self.ends.add(end_of(explored.worlds[number]))
        lost = explored.homeless([number for number, world in enumerate(explored.worlds) if is_home(world)])
        if lost:
            raise self._error(explored, lost[0], "there is no way home")
        if self.ends != set(self.model.setting.ends):
            missing, new = set(self.model.setting.ends) - self.ends, self.ends - set(self.model.setting.ends)
            raise ModelError(f"{self.model.setting.name}: it never ends so: {missing}; but it ends so: {new}")
        if self.model.told_unexpected:
            raise ModelError(f"an honest end was not understood: {self.model.told_unexpected[0]}")
        return explored

    def _error(self, explored: Explored, number: int, text: str) -> ModelError:
        return ModelError("\n  ".join([f"{self.model.setting.name}: {text}", *explored.way_to(number)]))

    def _note_ending(self, world: World) -> None:
        if world.ending is not None and world.finished is not None and self.model.setting.table.name == "client":
            left = any(something_is_left(world, job) for job in owned(self.model, world))
            self.endings.setdefault(world.ending, set()).add((world.finished.left is not None, left))
