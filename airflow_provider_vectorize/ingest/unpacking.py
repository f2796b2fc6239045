"""Unpack ``.gz``, ahead of who reads it, by a library that is twice as fast as Python's own."""

from __future__ import annotations

import io
import threading
from typing import Any

from isal import igzip, igzip_threaded
from isal.igzip_lib import IsalError

#: Bytes of text that its thread unpacks at a time; it is two of these ahead, and holds eight of the compressed file.
BLOCK_BYTES = 1024 * 1024
#: Seconds that its last read has to end.
JOIN_SECONDS = 1.0
#: What a truncated or damaged file raises.
DAMAGES: tuple[type[Exception], ...] = (EOFError, IsalError, igzip.BadGzipFile)  # type: ignore[assignment]  # isal says instance


class Unpacked(io.RawIOBase):
    """The contents of a compressed file, which a thread reads and unpacks until this is closed.

    :param raw: a binary file; whoever opened it closes it, after this.
    """

    _text: Any = io.BytesIO()  # until there is a thread

    def __init__(self, raw: Any) -> None:
        self._text = igzip_threaded.open(raw, "rb", block_size=BLOCK_BYTES)  # type: ignore[no-untyped-call]  # isal has no types there

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Take what is unpacked."""
        # The library takes its thread, when it has just ended, for the end, though what that did last still waits
        # to be taken; asked once more it gives it.
        return int(self._text.readinto1(buffer) or self._text.readinto1(buffer))

    def close(self) -> None:
        """See the thread end, unless its read hangs: nobody waits for that."""
        if not self.closed:
            closing = threading.Thread(target=self._text.close, name="vectorize-unpacked", daemon=True)
            closing.start()
            closing.join(JOIN_SECONDS)
        super().close()
