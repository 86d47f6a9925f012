"""Many files at once: threads, results in order, never more than a few of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def worker_count(workers: int | None = None) -> int:
    """The given number of threads, or as many as this process has processors."""
    if workers is not None:
        return workers
    if hasattr(os, "sched_getaffinity"):  # a container or taskset may grant fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None, ahead: int = 4
) -> Iterator[R]:
    """Yield `function(item)` for each item, in order, computed by threads ahead of the consumer.

    Threads, since decoding and hashing release the interpreter's lock.

    Args:
        function: safe to call from several threads.
        items: consumed no faster than the results are.
        workers: threads; the number of processors when None.
        ahead: results that may wait for the consumer, beyond those being computed.
    """
    threads = worker_count(workers)
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="tlkit-data") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= threads + ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # the consumer stopped early, or a call failed
            for future in pending:
                future.cancel()
