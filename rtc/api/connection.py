"""What `rtc.api.connect` returns: an async context manager that says what is wrong when it is used as another thing."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

import trio

from rtc.api.errors import usage_error

P = ParamSpec("P")
T = TypeVar("T")

HOW_TO_CONNECT = (
    "rtc.api.connect(…) is for programs under trio: async with rtc.api.connect(…) as room. In a script or a notebook: "
    "from rtc.api import blocking, and then with blocking.connect(…) as room."
)


class RoomConnection(AbstractAsyncContextManager[T], Generic[T]):
    """A room that is opened by `async with`, under trio."""

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager

    async def __aenter__(self) -> T:
        """Open the room, and return it.

        Raises:
            UsageError: trio does not run here.
        """
        if not trio.lowlevel.in_trio_run():
            raise usage_error(HOW_TO_CONNECT)
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:  # type checkers say by themselves that these do not exist

        def __enter__(self) -> NoReturn:
            raise usage_error(HOW_TO_CONNECT)

        def __exit__(self, *error: object) -> None:
            """Exist, so that `with` gets as far as `__enter__`."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            raise AttributeError(HOW_TO_CONNECT)


def only_under_trio(open_it: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, RoomConnection[T]]:
    """Return a function that does the same, and whose context manager says what is wrong when it is used otherwise."""

    @wraps(open_it)
    def connect(*arguments: P.args, **options: P.kwargs) -> RoomConnection[T]:
        return RoomConnection(open_it(*arguments, **options))

    return connect
