"""Airflow's local settings in the tests: watch the loop of the triggerer.

Airflow imports this in every process when it starts. In a triggerer it measures the CPU time of each callback of a
loop, by what the callback belongs to, and notes every call that would block on a socket in the loop's thread. The
garbage collector is measured by itself: it goes over all that the process holds, in whatever callback happens to be
the one that sets it off. Once a second it writes what it has seen to ``loop-<process id>.json`` in Airflow's home.
"""

import asyncio
import gc
import json
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

#: Of what -> number of callbacks, their CPU seconds, those of the longest.
callbacks: dict[str, list[float]] = {}
blocking: list[str] = []
#: CPU seconds of each run of the garbage collector in a callback, and when the present one has begun.
collections: list[float] = []
collecting: list[float] = []
#: The process whose report is written; a fork has to begin its own.
writer: list[int] = []


def owner(handle: asyncio.Handle) -> str:
    """Say what a callback belongs to: for the step of a task the file and name of its coroutine."""
    callback = handle._callback
    of = getattr(callback, "__self__", callback)
    if isinstance(of, asyncio.Task):
        coroutine = of.get_coro()
        code = getattr(coroutine, "cr_code", None)
        place = "/".join(Path(code.co_filename).parts[-3:]) if code else "?"
        return f"{place} {getattr(coroutine, '__qualname__', coroutine)}"
    return f"callback {getattr(of, '__qualname__', type(of).__qualname__)}"


def report() -> None:
    path = Path(os.environ["AIRFLOW_HOME"]) / f"loop-{os.getpid()}.json"
    while True:
        time.sleep(1)
        part = path.with_suffix(".part")
        part.write_text(
            json.dumps({"callbacks": callbacks, "blocking": blocking, "collections": collections})
        )
        part.replace(path)


def watch_callbacks() -> None:
    run = asyncio.Handle._run

    def measured(self: asyncio.Handle) -> None:
        if writer != [os.getpid()]:
            writer[:] = [os.getpid()]
            callbacks.clear()
            threading.Thread(target=report, daemon=True).start()
        name = owner(self)
        collected = len(collections)
        started = time.thread_time()
        try:
            run(self)
        finally:
            took = time.thread_time() - started - sum(collections[collected:])
            number, total, longest = callbacks.get(name, (0, 0.0, 0.0))
            callbacks[name] = [number + 1, total + took, max(longest, took)]

    asyncio.Handle._run = measured  # type: ignore[method-assign]


def watch_collector() -> None:
    def note(phase: str, _info: dict[str, int]) -> None:
        if asyncio._get_running_loop() is None:
            return
        if phase == "start":
            collecting[:] = [time.thread_time()]
        elif collecting:
            collections.append(time.thread_time() - collecting.pop())

    gc.callbacks.append(note)


def watch_sockets() -> None:
    def noted(name: str) -> None:
        original = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            # The loop's own sockets do not block: their timeout is 0.
            if asyncio._get_running_loop() is not None and self.gettimeout() != 0:
                blocking.append("".join(traceback.format_stack(limit=12)))
            return original(self, *args)

        setattr(socket.socket, name, call)

    for name in ("connect", "send", "sendall", "recv", "recv_into"):
        noted(name)


if "triggerer" in sys.argv:
    watch_callbacks()
    watch_collector()
    watch_sockets()
