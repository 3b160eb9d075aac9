"""Several blocking calls at once inside one task, within the task's deadline."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import DeadlineExceeded
from nornir_torque_vm.threads import Call

T = TypeVar("T", bound=Hashable)


def in_parallel(
    work: Callable[[T], object], items: Iterable[T], workers: int, name: str
) -> dict[T, BaseException | None]:
    """Call ``work`` with every item, ``workers`` at a time; return what each raised, None for nothing.

    The threads see the caller's deadline. What is not over when it passes has
    :class:`~nornir_torque_vm.errors.DeadlineExceeded`; its thread is left behind.

    :param name: of the threads.
    """
    queue = deque(dict.fromkeys(items))
    late = DeadlineExceeded("the time was up before it was over")
    outcome: dict[T, BaseException | None] = dict.fromkeys(queue, late)

    def drain() -> None:
        while True:
            try:
                item = queue.popleft()
            except IndexError:
                return
            try:
                work(item)
            except BaseException as exc:  # noqa: BLE001 - belongs to the item, not to the thread
                outcome[item] = exc
            else:
                outcome[item] = None

    if len(queue) == 1:
        drain()
        return outcome
    calls = [_start(drain, name) for _ in range(min(workers, len(queue)))]
    for call in calls:
        try:
            call.wait(current.get().remaining())
        except TimeoutError:
            call.abandon()
    return dict(outcome)


def _start(drain: Callable[[], None], name: str) -> Call[None]:
    context = contextvars.copy_context()
    return Call(lambda: context.run(drain), name=name).start()
