"""Sends messages within a deadline: an address that hangs holds up no other, and is not asked twice at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue

from ingest_pipelines.orchestration.alerts.alert_messages import Message
from ingest_pipelines.orchestration.alerts.notifier import send
from ingest_pipelines.orchestration.alerts.recipients import Recipient

HANGS = "the service does not answer in time"
BUSY = "an earlier message is still being sent"


@dataclass(frozen=True)
class Sending:
    """An attempt to send a message, and what became of it.

    Attributes:
        error: why it was not sent, without any part of the address; "": it was sent.
        tried: whether the address was asked.
    """

    message: Message
    error: str
    tried: bool = True

    @property
    def hung(self) -> bool:
        """Whether it is not known if the message was accepted."""
        return self.error == HANGS


class Outbox:
    """Sends messages, each address in a thread of its own.

    A thread cannot be ended from outside. One that hangs is left alone, and what became of its message is part of a
    later delivery: so the message is not sent a second time beside it.
    """

    def __init__(self) -> None:
        self._results: SimpleQueue[Sending] = SimpleQueue()
        self._threads: dict[Recipient, threading.Thread] = {}

    def deliver(self, messages: Iterable[Message], seconds: float) -> Iterator[Sending]:
        """Sends the messages, and yields what became of each as soon as it is known.

        An address that did not accept a message gets no further one this time.

        Args:
            seconds: after so many, messages that are not accepted count as not sent.
        """
        deadline = time.monotonic() + seconds
        waiting: dict[Recipient, list[Message]] = {}
        for message in messages:
            waiting.setdefault(message.recipient, []).append(message)
        yield from self._finished()  # of threads that hung the last time
        expired = threading.Event()
        pending: dict[int, Message] = {}
        for recipient, letters in waiting.items():
            thread = self._threads.get(recipient)
            if thread is not None and thread.is_alive():
                yield from (Sending(letter, BUSY, tried=False) for letter in letters)
                continue
            thread = threading.Thread(target=self._send, args=(letters, expired), name="alerts", daemon=True)
            self._threads[recipient] = thread
            pending |= {id(letter): letter for letter in letters}
            thread.start()
        while pending:
            try:
                result = self._results.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            pending.pop(id(result.message), None)
            yield result
        expired.set()
        yield from (Sending(letter, HANGS) for letter in pending.values())

    def _finished(self) -> Iterator[Sending]:
        while True:
            try:
                yield self._results.get_nowait()
            except Empty:
                return

    def _send(self, letters: Iterable[Message], expired: threading.Event) -> None:
        error, tried = "", True
        for letter in letters:
            if expired.is_set():  # counted as not sent already
                return
            if not error:
                error = _sent(letter)
            else:
                tried = False
            self._results.put(Sending(letter, error, tried))


def _sent(message: Message) -> str:
    try:
        return send(message.recipient.address, message.title, message.body, message.severity)
    except Exception as error:
        return f"sending failed: {type(error).__name__}"


@cache
def outbox_of(state: Path) -> Outbox:
    """The one outbox of this process for the installation with that state folder."""
    return Outbox()
