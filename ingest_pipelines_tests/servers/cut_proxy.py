"""A TCP proxy in front of a real server, for the faults of a network: cuts, resets, refusals, delays, silence."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Fault:
    """What goes wrong; nothing, by default. Bytes count per connection.

    Attributes:
        cut_after_received: cut once the client received this many bytes from the server.
        cut_after_sent: cut once the client sent this many bytes.
        stall_after_received: once the client received this many bytes, nothing more reaches it while the fault lasts.
        reset: cut with RST ("connection reset by peer"); False: with FIN, as a server that closes.
        refuse: connections are reset before anything is exchanged.
        refuse_first: so are the first n connections only, counted from the moment the fault is set.
        delay_seconds: every piece of data waits this long.
        silent: connections stay open and nothing gets through.
        once: the network is mended by the first cut.
    """

    cut_after_received: int | None = None
    cut_after_sent: int | None = None
    stall_after_received: int | None = None
    reset: bool = True
    refuse: bool = False
    refuse_first: int = 0
    delay_seconds: float = 0.0
    silent: bool = False
    once: bool = False


class CutProxy:
    """`with CutProxy("127.0.0.1", 5432) as proxy:` listens on `proxy.port` of 127.0.0.1.

    Attributes:
        connections: how many clients connected.
        cuts: how many connections a fault ended.
        sent, received: how many bytes all clients sent and received, as far as they got through.
        stalled: how many connections stand still because of the fault.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self.sent = 0
        self.received = 0
        self.stalled = 0
        self._upstream = (host, port)
        self._fault = Fault()
        self._refusals_left = 0
        self._heard = asyncio.Event()  # set when the network is no longer silent
        self._changed = asyncio.Event()  # set, and replaced, when the fault becomes another
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cut-proxy", daemon=True)

    def break_with(self, fault: Fault) -> None:
        """From now on the network has this fault, open connections included."""
        self._call(self._set(fault))

    def mend(self) -> None:
        """From now on everything gets through."""
        self.break_with(Fault())

    def cut_all(self) -> None:
        """Every open connection is reset now."""
        self._call(self._cut_all())

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, step: Coroutine[object, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._heard.set()

    async def _close(self) -> None:
        self._server.close()
        await self._cut_all()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _set(self, fault: Fault) -> None:
        self._fault = fault
        self._refusals_left = fault.refuse_first
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.silent:
            self._heard.clear()
        else:
            self._heard.set()

    async def _cut_all(self) -> None:
        for pair in list(self._pairs):
            self._cut(pair, reset=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._fault.refuse or self._refusals_left > 0:
            self._refusals_left -= 1
            self.cuts += 1
            _end(client, reset=True)
            return
        try:
            answers, server = await asyncio.open_connection(*self._upstream)
        except OSError:
            _end(client, reset=True)
            return
        pair = (client, server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(answers, client, pair), self._pump(reader, server, pair))
        except asyncio.CancelledError:
            pass  # the proxy closes; asyncio would print it
        finally:
            self._pairs.discard(pair)
            for end in pair:
                _end(end, reset=False)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        """Passes one direction on until its source ends, breaks off, or the fault cuts it."""
        passed = 0
        to_client = sink is pair[0]
        try:
            while data := await source.read(65536):
                await asyncio.sleep(self._fault.delay_seconds)
                await self._heard.wait()
                fault = self._fault
                limit = fault.cut_after_received if to_client else fault.cut_after_sent
                if limit is not None and passed + len(data) >= limit:
                    sink.write(data[: max(0, limit - passed)])
                    await sink.drain()
                    self.cuts += 1
                    if fault.once:
                        self._fault = Fault()
                    self._cut(pair, reset=fault.reset)
                    return
                stall = fault.stall_after_received if to_client else None
                if stall is not None and passed + len(data) > stall:
                    through = max(0, stall - passed)
                    sink.write(data[:through])
                    await sink.drain()
                    self.stalled += 1
                    try:
                        await self._changed.wait()
                    finally:
                        self.stalled -= 1
                    sink.write(data[through:])
                else:
                    sink.write(data)
                await sink.drain()
                passed += len(data)
                self.sent += 0 if to_client else len(data)
                self.received += len(data) if to_client else 0
            if sink.can_write_eof():
                sink.write_eof()
        except OSError:  # one end broke off: so does the other, which might wait for ever
            self._cut(pair, reset=True)

    def _cut(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter], *, reset: bool) -> None:
        for end in pair:
            _end(end, reset=reset)


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Closes a connection, with RST if asked: lingering zero seconds drops what was not sent yet."""
    if not reset:
        writer.close()
        return
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
