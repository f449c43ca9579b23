"""Ctrl-C at a moment that leaves nothing half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold one Ctrl-C back until the block is done, so that it ends whole; a second one ends it at once."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # no Ctrl-C arrives here, or none is listened to
        return
    held: list[Any] = []

    def hold(*arguments: Any) -> None:
        if held:
            before(*arguments)
        held.append(arguments)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        before(*held[0])
