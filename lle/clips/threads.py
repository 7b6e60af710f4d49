"""Work ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from typing import Any, TypeVar

AHEAD = 4  # items that wait between two threads

T = TypeVar("T")


def in_thread(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, made ahead in a thread of their own; it ends when nobody takes them any more."""
    queue: Queue[tuple[str, Any]] = Queue(AHEAD)
    stopped = threading.Event()

    def put(kind: str, item: Any) -> None:
        while not stopped.is_set():
            try:
                return queue.put((kind, item), timeout=0.1)
            except Full:
                continue
        return None

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stopped.is_set():
                    break
            put("end", None)
        except BaseException as error:  # told where the items are taken
            put("error", error)
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, item = queue.get(timeout=0.1)
            except Empty:
                continue
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item
    finally:
        stopped.set()
        thread.join()
