"""A web page as a client: Chromium runs `browser.html`, plain JavaScript, against a real server and a real worker.

The page is opened from disk, as somebody would who does not want to trust a server with the room secret, and driven
through the browser's remote debugging (https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import hashlib
import io
import itertools
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from trio_websocket import WebSocketConnection, open_websocket_url

from rtc.testing.lab import Lab
from rtc.testing.limits import HANG_TIME

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE = Path(__file__).with_name("browser.html")
SECRET = "a secret of sixteen or more: ключ"
ANSWER_MAX = 64 * 1024 * 1024
"""Bytes of the longest answer of the browser, which may hold a whole result."""
CREDIT_TEST_BYTES = 6_000_000
"""More than the credit with which a transfer begins."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here"),
]


@define
class Page:
    """A page in a headless browser."""

    _websocket: WebSocketConnection
    _session: str | None = None
    _numbers: "itertools.count[int]" = field(factory=lambda: itertools.count(1))

    async def order(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send the browser an order, and return its answer; what it reports meanwhile is passed over."""
        order: dict[str, Any] = {"id": next(self._numbers), "method": method, "params": parameters}
        if self._session is not None:
            order["sessionId"] = self._session
        await self._websocket.send_message(json.dumps(order))
        while True:
            answer = json.loads(await self._websocket.get_message())
            if answer.get("id") == order["id"]:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    async def load(self, url: str) -> None:
        """Load a page; from now on, orders are for this page."""
        targets = (await self.order("Target.getTargets"))["targetInfos"]
        [page] = [target["targetId"] for target in targets if target["type"] == "page"]
        self._session = (await self.order("Target.attachToTarget", targetId=page, flatten=True))["sessionId"]
        await self.order("Page.navigate", url=url)
        await self.call(
            "loaded => new Promise(done => document.readyState === loaded ? done() : (onload = done))", "complete"
        )

    async def call(self, function: str, argument: Any) -> dict[str, Any]:
        """Call a function of the page, wait for what it promises, and return the browser's answer."""
        expression = f"({function})({json.dumps(argument)})"
        return await self.order("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)


@asynccontextmanager
async def open_page(folder: Path) -> AsyncGenerator[Page, None]:
    """Open `PAGE` in a browser of its own, which ends with this context.

    Args:
        folder: where the browser keeps its profile, and everything else that it would write into the home folder.
    """
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *(f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", "about:blank"),
    ]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    printed = _Printed(process.stderr)
    try:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(printed.find, rb"DevTools listening on (ws://\S+)")
            async with open_websocket_url(address, max_message_size=ANSWER_MAX) as websocket:
                page = Page(websocket)
                await page.load(PAGE.as_uri())
                yield page
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stderr.aclose()


@define
class _Printed:
    """What a browser prints, which has to be read for as long as it runs."""

    stream: trio.abc.ReceiveStream

    async def find(self, pattern: bytes, *, task_status: trio.TaskStatus[str]) -> None:
        """Read everything; report what the group of `pattern` is, as soon as it has been printed."""
        printed = b""
        async for part in self.stream:
            if (found := re.search(pattern, printed)) is None:
                printed += part
                if (found := re.search(pattern, printed)) is not None:
                    task_status.started(found[1].decode())
        assert re.search(pattern, printed) is not None, printed.decode(errors="replace")


class PageError(Exception):
    """What a function of the page has thrown."""


async def in_browser(folder: Path, function: str, argument: Any) -> Any:
    """Return what this function of the page promises, in a browser of its own.

    Raises:
        PageError: it has thrown an error.
    """
    with trio.fail_after(HANG_TIME):
        async with open_page(folder) as page:
            answer = await page.call(function, argument)
    if "exceptionDetails" in answer:
        raise PageError(answer["exceptionDetails"]["exception"]["description"])
    return answer["result"]["value"]


async def test_a_browser_has_a_package_trained_with_nothing_installed(
    lab: Lab, tmp_path: Path, package: Callable[..., Path]
) -> None:
    worker = await lab.start_worker(secret=SECRET)
    sent = package(models=("centroid", "centered_instance"), megabytes=3)
    with zipfile.ZipFile(sent, "a") as archive:
        archive.writestr("more.pkg.slp", bytes(CREDIT_TEST_BYTES))
    target = {"server": lab.config.signaling_websocket, "room": worker.ready.room, "token": worker.ready.token}
    content = {"name": sent.name, "content": base64.b64encode(sent.read_bytes()).decode()}
    done = await in_browser(tmp_path, "train", {**target, **content, "secret": SECRET})

    result = base64.b64decode(done["result"])
    assert hashlib.sha256(result).digest() == base64.b64decode(done["sha256"])
    with zipfile.ZipFile(io.BytesIO(result)) as archive:
        assert len([name for name in archive.namelist() if name.endswith("best.ckpt")]) == 2
    assert (done["ended"]["outcome"], done["state"]["stage"]) == ("done", "ended")
    assert {"JOB_STARTED", "MODEL_STARTED", "PROGRESS", "MODEL_TRAINED", "LOG_LINES"} <= {*done["news"]}
    assert done["numbers"] == [*range(1, len(done["numbers"]) + 1)]
    assert re.findall("(?m)^a=fingerprint:(\\S+)", done["answer"]) == ["sha-256"]
    assert not re.search(r"(?m)^a=candidate:(?!.*\.local )", done["offer"])  # the browser shows none of its addresses
    await worker.log.until("proved the room secret")
    await worker.log.until("was received and unpacked by its owner")
    await worker.log.until("Status: available.")


@pytest.mark.long
async def test_a_browser_with_another_secret_gets_nothing(
    lab: Lab, tmp_path: Path, package: Callable[..., Path]
) -> None:
    worker = await lab.start_worker(secret=SECRET)
    target = {"server": lab.config.signaling_websocket, "room": worker.ready.room, "token": worker.ready.token}
    with pytest.raises(PageError, match=r"REFUSE.*auth_invalid"):
        await in_browser(
            tmp_path, "train", {**target, "name": "toy.zip", "content": "", "secret": "another secret of that length"}
        )
