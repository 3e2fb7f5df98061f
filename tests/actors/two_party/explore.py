"""The exploration: every world that follows from the first one, breadth-first."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator

from attrs import frozen

from protocol.status import Status

from .links import Move, call
from .outside import Outside
from .world import GONE, Budget, ModelError, World, change, parts, spend


class Model(Outside):
    """The moves of one setting's worlds, and which answers of the tables they have used."""

    def moves(self, world: World) -> Iterator[Move]:
        """Return what can happen next: its name, whether it uses up the budget, and the function that does it."""
        prompt = [*self.moves_of_links(world)]
        if not world.worker_gone:
            prompt += self.moves_of_worker(world)
        if world.finished is None:
            prompt += self.moves_of_client(world)
        if world.worker_gone and world.offers:
            gone = change(world, offers=world.offers[1:], answers=(*world.answers, GONE))
            prompt.append(("the server refuses the offer", False, lambda: gone))
        yield from prompt
        if not prompt:
            yield from self.time_outs(world)
        elif world.budget.hurries:
            for name, _, do in self.time_outs(spend(world, "hurries")):
                yield name, True, do
        yield from self.moves_of_outside(world)

    def time_outs(self, world: World) -> Iterator[Move]:
        """Return the moves that only take time."""
        if not world.worker_gone:
            for state, event in world.worker.due:
                yield "the worker times out", False, call(self.tell_worker, change(world, worker=state), event)
        for link, session in world.sessions:
            for state, event in session.due:
                others = tuple((one, state if one == link else other) for one, other in world.sessions)
                yield "a session times out", False, call(self.tell_session, change(world, sessions=others), link, event)
        for state, event in world.client.due:
            name = f"the client's time is over: {type(event).__name__}"
            yield name, False, call(self.tell_client, change(world, client=state), event)


@frozen
class Explored:
    """All worlds of one setting, and the moves between them."""

    worlds: tuple[World, ...]
    moves: tuple[tuple[tuple[str, bool, int], ...], ...]
    """For each world, its moves: name, whether it used up the budget, and the number of the world after it."""
    came_from: tuple[tuple[int, str], ...]

    def way_to(self, number: int) -> list[str]:
        """Return the shortest list of moves that leads to a world, for error texts."""
        names: list[str] = []
        while number:
            number, name = self.came_from[number]
            names.append(name)
        return names[::-1]

    @property
    def quiet(self) -> list[int]:
        """Return the numbers of the worlds in which nothing happens any more, unless the outside does something."""
        return [number for number, moves in enumerate(self.moves) if all(costs for _, costs, _ in moves)]

    def homeless(self, homes: Collection[int]) -> list[int]:
        """Return the numbers of the worlds from which no moves that cost nothing lead to one of `homes`."""
        before: dict[int, list[int]] = defaultdict(list)
        for number, moves in enumerate(self.moves):
            for _, costs, after in moves:
                if not costs:
                    before[after].append(number)
        found, todo = set(homes), list(homes)
        while todo:
            new = [number for number in before[todo.pop()] if number not in found]
            found.update(new)
            todo += new
        return [number for number in range(len(self.worlds)) if number not in found]


def begin(model: Model) -> World:
    """Return the first world of a setting, in which the client is in the phase in which the setting begins.

    Raises:
        ModelError: there is none.
    """
    setting = model.setting
    try:
        first = model.first()
    except Exception as error:
        raise ModelError(f"{setting.name}: {error!r}") from error
    if setting.begin is None:
        return first
    for world in explore(model, 1000, change(first, budget=Budget())).worlds:
        if world.client.phase is setting.begin:
            return change(world, budget=setting.budget)
    raise ModelError(f"{setting.name}: without a disturbance, the client never is {setting.begin.value}")


def find_home(model: Model, world: World) -> World | None:
    """Return a world in which all is over and to which moves that cost nothing lead; None if there is none.

    Raises:
        UnexpectedEvent: an actor got an event that cannot happen, on the way that was tried first.
    """
    seen, todo = {parts(world)}, [world]
    while todo:
        world = todo.pop()
        if is_home(world):
            return world
        after = [do() for _, costs, do in model.moves(world) if not costs]
        todo += [one for one in after[::-1] if parts(one) not in seen]
        seen.update(map(parts, after))
    return None


def is_home(world: World) -> bool:
    """Return whether client and worker are available, and nothing of this wish goes on."""
    worker_is_free = world.worker_gone or world.worker.phase.status is Status.AVAILABLE
    client_is_free = world.client.phase.status is Status.AVAILABLE and world.finished is not None
    settled = all(job.stage in ("ended", "gone", "elsewhere") for job in world.jobs)
    return worker_is_free and client_is_free and settled and not world.links and not world.sessions


def explore(
    model: Model,
    limit: int,
    first: World | None = None,
    check: Callable[[World], None] = lambda _world: None,
    *,
    cut: bool = False,
) -> Explored:
    """Follow every move from the first world, breadth-first, and check each new world.

    With `cut`, end when `limit` worlds are found; the last ones are then without moves.

    Raises:
        ModelError: an actor got an event that cannot happen, a check has failed, or there are more worlds than `limit`.
    """
    first = begin(model) if first is None else first
    numbers, worlds, came_from = {parts(first): 0}, [first], [(0, "")]
    edges: list[tuple[tuple[str, bool, int], ...]] = []
    todo = deque([0])
    while todo and not (cut and len(worlds) >= limit):
        number = todo.popleft()
        found = []
        for name, costs, do in model.moves(worlds[number]):
            try:
                after = do()
                key = parts(after)
                if key not in numbers:
                    check(after)
            except Exception as error:
                way = Explored(tuple(worlds), tuple(edges), tuple(came_from)).way_to(number)
                raise ModelError("\n  ".join([f"{model.setting.name}: {error!r}", *way, name])) from error
            if key not in numbers:
                numbers[key] = len(worlds)
                worlds.append(after)
                came_from.append((number, name))
                todo.append(numbers[key])
                if len(worlds) > limit and not cut:
                    raise ModelError(f"{model.setting.name}: more than {limit} worlds")
            found.append((name, costs, numbers[key]))
        edges.append(tuple(found))
    return Explored(tuple(worlds), tuple(edges), tuple(came_from))
