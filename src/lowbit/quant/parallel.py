"""Runs chunks in parallel, one thread each. Torch's own threads within an operator make small operators slower."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread_an_operator() -> Iterator[int]:
    """In the block, each torch operator uses one thread.

    Gives the number of threads before, which is how many chunks may run in parallel.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def in_order(task: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """task(item) of each item, `workers` at a time, given in the order of the items; few are ever waiting."""
    if workers == 1:
        yield from map(task, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(_without_gradients, task, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _without_gradients(task: Callable[[Item], Result], item: Item) -> Result:
    """Run without gradients. Torch keeps this setting per thread, so every thread needs it."""
    with torch.no_grad():
        return task(item)
