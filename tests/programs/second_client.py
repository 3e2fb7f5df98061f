"""A second client, which trains one package. It was written from docs/protocol.md and docs/messages.md alone."""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import random
import secrets
import struct
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from websockets import WebSocketException
from websockets.asyncio.client import connect

Message = dict[str, Any]
VERSIONS = {"oldest": 3, "newest": 3}
FRAME, UNTRUSTED_FRAME = 65_536, 4_096  # bytes of a message
PIECE, AHEAD, STEP = 2**16, 2**22, 2**20  # bytes of a file: in a piece, of credit, and by which credit is raised
PASSING = ("link_failed", "link_lost", "server_lost", "no_worker")  # faults for which we come back to our job
BROKEN = (OSError, WebSocketException, InvalidStateError)  # which is raised when a line or a link breaks
TRIES = 20  # to come back, with pauses of up to 30 seconds


class FaultError(Exception):
    """Something cannot be done: a code for programs, and a sentence for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__("".join(c if c.isprintable() else " " for c in text))
        self.code = code


def derive(secret: str, room: str, label: bytes) -> bytes:
    """The key of the room for one use."""
    root = hashlib.pbkdf2_hmac("sha256", secret.strip().encode(), f"sleap-rtc/room-secret/{room}".encode(), 600_000)
    return HKDF(SHA256(), 32, salt=None, info=label).derive(root)


def proof(key: bytes, *parts: bytes | str | int) -> bytes:
    """HMAC-SHA256 of the parts, each preceded by its length."""
    octets = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return hmac.digest(key, b"".join(struct.pack(">I", len(o)) + o for o in octets), "sha256")


def tag(secret: str, kind: str, room: str, *rest: bytes | str | int) -> Message:
    """The tag of an offer or an answer; `rest` ends with the session description."""
    key, sdp = derive(secret, room, b"sleap-rtc/tag"), rest[-1]
    whole = proof(key, "sleap-rtc", kind, room, *rest[:-1], sdp)
    without_sdp = proof(key, "sleap-rtc", f"{kind} without sdp", room, *rest[:-1])
    return {"whole": b64encode(whole).decode(), "without_sdp": b64encode(without_sdp).decode()}


def sha256(path: Path) -> str:
    """The hash of a file, as it stands in messages."""
    with path.open("rb") as file:
        return b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


class Line:
    """Our WebSocket to the server, which may break at any time."""

    def __init__(self, session: str) -> None:
        text = "".join(session.split()).removeprefix("sleap-session:").rstrip("=").replace("-", "+").replace("_", "/")
        try:
            facts = json.loads(b64decode(text + "=" * (-len(text) % 4), validate=True))
            self.room, self.token, self.worker, self.server = (str(facts[key]) for key in "rtps")
            self.offers = 0
        except (ValueError, KeyError, TypeError):
            raise FaultError("usage", "This is no session string, or it does not name a server.") from None

    async def join(self) -> None:
        """Connect, and join the room."""
        # without a limit of the queue, pings are answered while nobody reads
        self.socket = await connect(self.server, max_size=FRAME, max_queue=None, ping_interval=10)
        await self.send("JOIN", room=self.room, token=self.token, role="client", versions=VERSIONS)
        joined = await self.expect("JOINED")
        self.me, self.ice, self.nonce = joined["peer"], joined["ice"], None
        for worker in joined["workers"]:
            self.note(worker)

    def note(self, worker: Message) -> None:
        """Remember the nonce of our worker."""
        if worker["peer"] == self.worker:
            self.nonce = worker["facts"].get("offer_nonce")

    async def leave(self) -> None:
        """Leave the room, and let the server close the line."""
        with contextlib.suppress(*BROKEN):
            await self.send("LEAVE")
            await asyncio.wait_for(self.socket.wait_closed(), 5)

    async def send(self, kind: str, /, **fields: object) -> None:
        """Send one message."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def expect(self, kind: str, number: int | None = None) -> Message:
        """Wait for this message, or for the one about this offer; others are of no use here."""
        async with asyncio.timeout(10):
            while True:
                message: Message = json.loads(await self.socket.recv())
                if message["type"] == "WORKER_PRESENT":
                    self.note(message)
                if message["type"] == "FAULT" or (message["type"] == "REFUSE" and message["number"] == number):
                    fault = message.get("fault", message)
                    raise FaultError(fault["code"], fault["text"])
                if message["type"] == kind and number in (None, message.get("number")):
                    return message


class Link:
    """A WebRTC peer connection to the worker, with two data channels."""

    def __init__(self, line: Line) -> None:
        ice = [RTCIceServer(e["urls"], e.get("username") or None, e.get("credential") or None) for e in line.ice]
        self.line, self.pc = line, RTCPeerConnection(RTCConfiguration(iceServers=ice))
        self.control = self.pc.createDataChannel("control", negotiated=True, id=0)
        self.bulk = self.pc.createDataChannel("bulk", negotiated=True, id=1)
        self.inbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.opened = [asyncio.Event(), asyncio.Event()]
        for channel, opened in zip((self.control, self.bulk), self.opened, strict=True):
            channel.on("open", opened.set)
            channel.on("message", self.inbox.put_nowait)
            channel.on("close", lambda: self.inbox.put_nowait('{"type": "GOODBYE"}'))
        self.limit = UNTRUSTED_FRAME
        self.beat = asyncio.get_running_loop().call_later(3, self.send, "HEARTBEAT")

    async def open(self, job: str | None, secret: str | None) -> None:
        """Make an offer, wait for the channels, greet, and prove on both sides that we know the secret."""
        room, worker, me = self.line.room, self.line.worker, self.line.me
        self.line.offers = number = self.line.offers + 1
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp, given = self.pc.localDescription.sdp, (room, worker, me, number)
        is_tagged = secret and self.line.nonce
        mark = tag(secret, "offer", *given, job or "", b64decode(self.line.nonce), sdp) if is_tagged else None
        try:
            await self.line.send("OFFER", peer=worker, sdp=sdp, job=job, number=number, tag=mark)
            answer = await self.line.expect("ANSWER", number)
            if is_tagged and answer["tag"] != tag(secret, "answer", *given, "", b"", answer["sdp"]):
                raise FaultError("auth_unproven_worker", "The answer is not from a worker that knows the room secret.")
            await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            await asyncio.wait_for(asyncio.gather(*(opened.wait() for opened in self.opened)), 13)
        except (TimeoutError, asyncio.CancelledError):
            await self.line.send("WITHDRAW", peer=worker, number=number)
            raise
        self.send("HELLO", versions=VERSIONS)
        theirs = (await self.receive("HELLO"))["versions"]
        if (version := min(theirs["newest"], VERSIONS["newest"])) < max(theirs["oldest"], VERSIONS["oldest"]):
            raise FaultError("version", f"This client speaks {VERSIONS}, the worker {theirs}: install newer programs.")
        message, expected = await self.receive("AUTH_CHALLENGE", "AUTH_SUCCESS"), None
        if message["type"] == "AUTH_CHALLENGE":
            nonce, mine = secrets.token_bytes(32), None
            if secret:
                dtls: Any = self.pc.sctp and self.pc.sctp.transport
                used = dtls._ssl.get_peer_certificate(as_cryptography=True).fingerprint(SHA256())
                ours = next(f.value for f in dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256")
                head = "sleap-rtc", theirs["oldest"], theirs["newest"], VERSIONS["oldest"], VERSIONS["newest"], version
                tail = room, worker, me, used, bytes.fromhex(ours.replace(":", "")), b64decode(message["nonce"]), nonce
                mine, expected = (
                    proof(derive(secret, room, b"sleap-rtc/proof"), *head, whose, *tail)
                    for whose in ("client", "worker")
                )
            self.send("AUTH_RESPONSE", nonce=b64encode(nonce).decode(), proof=mine and b64encode(mine).decode())
            message = await self.receive("AUTH_SUCCESS", "AUTH_FAILURE")
            if message["type"] == "AUTH_FAILURE":
                raise FaultError("auth_" + message["reason"], message["text"])
        if secret and not (expected and hmac.compare_digest(expected, b64decode(message["proof"] or ""))):
            raise FaultError("auth_unproven_worker", "The worker has not proven that it knows the room secret.")
        self.limit = FRAME

    def send(self, kind: str, /, **fields: object) -> None:
        """Queue a message, and a sign of life for when nothing follows. A closed link is noticed by `receive`."""
        self.beat.cancel()
        if self.control.readyState == "open":
            self.control.send(json.dumps({"type": kind, **fields}))
            self.beat = asyncio.get_running_loop().call_later(3, self.send, "HEARTBEAT")

    async def receive(self, *kinds: str) -> Message:
        """The next message, which must be one of these if some are named; a piece of a file has the type ""."""
        while True:
            frame = await asyncio.wait_for(self.inbox.get(), 12)
            if isinstance(frame, str) and len(frame.encode()) > self.limit:
                raise FaultError("bad_message", f"The worker sent a message of more than {self.limit} bytes.")
            message: Message = json.loads(frame) if isinstance(frame, str) else {"type": "", "piece": frame}
            if message["type"] in ("GOODBYE", "FILE_ABORT"):
                fault = message.get("fault") or {"code": "link_lost", "text": "The link to the worker was closed."}
                raise FaultError(fault["code"], fault["text"])
            if message["type"] == "FAULT" and message["code"] != "unknown_message":
                raise FaultError(message["code"], message["text"])
            if kinds and message["type"] not in (*kinds, "HEARTBEAT"):
                raise FaultError("bad_message", f"The worker sent something other than {' or '.join(kinds)}.")
            if message["type"] not in ("HEARTBEAT", "FAULT"):
                return message

    async def close(self, fault: FaultError | None) -> None:
        """Say goodbye, let the buffers drain, and close."""
        self.send("GOODBYE", fault=fault and {"code": fault.code, "text": str(fault)})
        self.beat.cancel()
        for _ in range(50):
            if self.control.readyState == "open" and self.control.bufferedAmount:
                await asyncio.sleep(0.1)
        await self.pc.close()


class Job:
    """Our job, over as many links as it takes."""

    def __init__(self, package: Path, result: Path) -> None:
        self.package, self.result, self.part = package, result, result.with_name(result.name + ".part")
        self.size, self.sha256 = package.stat().st_size, sha256(package)
        self.part.write_bytes(b"")
        self.owner: dict[str, str] = {}  # the job's id and key
        self.seen, self.begun, self.over, self.failure = 0, False, False, ""

    async def follow(self, link: Link) -> None:
        """Submit the job, or come back to it; return when it has ended and its result is here."""
        if self.owner:
            link.send("ATTACH_JOB", **self.owner, seen=self.seen, result=True, supply=not self.begun)
        else:
            link.send("SUBMIT_JOB", kind="train", name=self.package.name, size=self.size, overrides=[])
        digest, download, size, credit, sent, unknown = "", 0, 0, 0, False, 0
        with self.package.open("rb") as package, self.part.open("ab") as part:
            while True:
                message = await link.receive()
                kind, number = message["type"], int(message.get("transfer", 0))
                if kind not in ("", "FILE_CREDIT"):
                    print(json.dumps({**message.get("news", message), "key": None}), flush=True)
                match kind:
                    case "":  # a piece of the result, or of a transfer that has ended
                        number, offset = struct.unpack(">IQ", message["piece"][:12])
                        if number == download:
                            if offset != part.tell():
                                raise FaultError("bad_message", "A piece of the result is out of its place.")
                            part.write(message["piece"][12:])
                            if part.tell() + AHEAD >= credit + STEP:
                                credit = part.tell() + AHEAD
                                link.send("FILE_CREDIT", transfer=number, credit=credit)
                    case "JOB_EVENT":
                        self.seen = max(self.seen, message.get("seq") or 0)
                    case "JOB_STATE" if self.over:
                        return
                    case "JOB_ACCEPTED" | "JOB_STATE":
                        self.owner = self.owner or {"job": message["job"], "key": message["key"]}
                        if message.get("stage") in ("unknown", "elsewhere"):
                            raise FaultError("no_such_job", message["text"])
                        self.begun = message.get("stage", "preparing") != "preparing"
                        if not self.begun:  # 1: the first transfer of this link
                            link.send("FILE_OFFER", transfer=1, name=self.package.name, size=self.size)
                    case "FILE_ACCEPT" | "FILE_CREDIT":
                        package.seek(message.get("offset", package.tell()))
                        while data := package.read(max(0, min(PIECE, message["credit"] - package.tell()))):
                            link.bulk.send(struct.pack(">IQ", number, package.tell() - len(data)) + data)
                        if package.tell() == self.size and not sent:
                            sent = True
                            link.send("FILE_END", transfer=number, sha256=self.sha256)
                    case "FILE_VERIFIED":
                        self.begun = True
                    case "JOB_ENDED":
                        self.failure = "" if message["outcome"] == "done" else message["text"]
                        if not message["result"]:
                            self.over = True
                            return
                    case "FILE_OFFER":
                        download, size, credit = number, message["size"], part.tell() + AHEAD
                        link.send("FILE_ACCEPT", transfer=number, offset=part.tell(), credit=credit)
                    case "FILE_END":
                        digest = message["sha256"]
                    case _ if (unknown := unknown + 1) <= 10:
                        link.send("FAULT", code="unknown_message", text=f"This client knows no {ascii(kind)[:99]}.")
                if digest and part.tell() == size and not self.over:  # FILE_END may overtake the last pieces
                    part.flush()
                    if digest != await asyncio.to_thread(sha256, self.part):
                        raise FaultError("damaged", "The result was damaged on its way.")
                    self.part.replace(self.result)
                    self.over = True
                    link.send("FILE_VERIFIED", transfer=download)
                    link.send("RESULT_TAKEN", **self.owner)


async def run(line: Line, job: Job, secret: str | None) -> None:
    """Run the job, and come back to it when the line or the link breaks."""
    tries = 0
    while not job.over:
        try:
            await line.join()
            link, fault = Link(line), None
            try:
                await link.open(job.owner.get("job"), secret)
                await job.follow(link)
            except (FaultError, KeyError, TypeError, ValueError, struct.error) as error:
                fault = error if isinstance(error, FaultError) else FaultError("bad_message", "A message is malformed.")
                raise fault from error
            finally:
                await link.close(fault)
                await line.leave()
        except (FaultError, *BROKEN) as error:
            passing = job.owner and getattr(error, "code", "link_lost") in PASSING and tries < TRIES
            if not passing and not job.over:
                raise
            print(json.dumps({"type": "LOST", "text": str(error)}), flush=True)
            await asyncio.sleep(random.uniform(0.25, 0.5) * min(60, 2**tries))
            tries += 1


def main() -> int:
    """Read the command line, and run the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("session", "package", "result", "--secret"):
        parser.add_argument(name)
    args = parser.parse_args()
    try:
        line, job = Line(args.session), Job(Path(args.package), Path(args.result))
        asyncio.run(run(line, job, args.secret))
        failure = job.failure
    except KeyboardInterrupt:
        failure = "Left; a job that has begun goes on."
    except (FaultError, *BROKEN) as error:
        failure = str(error) or "No answer came in time."
    print(failure, end="\n" if failure else "", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
