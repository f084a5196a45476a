"""The messages of a gRPC connection, read from the bytes that a client sends."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD: Final = 9
DATA: Final = 0
MESSAGE_HEAD: Final = 5
GZIP: Final = 31
"""`wbits` of zlib for gzip, which the SDK compresses with."""


class GrpcMessages:
    """Reads one direction of one connection, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._left = b""
        self._began = False
        self._streams: defaultdict[int, bytes] = defaultdict(bytes)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The messages that this piece completes, uncompressed."""
        self._left += piece
        if not self._began:
            if len(self._left) < len(PREFACE):
                return
            self._left, self._began = self._left.removeprefix(PREFACE), True
        while len(self._left) >= FRAME_HEAD:
            length, kind = int.from_bytes(self._left[:3]), self._left[3]
            stream = int.from_bytes(self._left[5:FRAME_HEAD])
            if len(self._left) < FRAME_HEAD + length:
                return
            content, self._left = self._left[FRAME_HEAD : FRAME_HEAD + length], self._left[FRAME_HEAD + length :]
            if kind == DATA:
                yield from self._messages(stream, content)

    def _messages(self, stream: int, content: bytes) -> Iterator[bytes]:
        self._streams[stream] += content
        while len(found := self._streams[stream]) >= MESSAGE_HEAD:
            end = MESSAGE_HEAD + int.from_bytes(found[1:MESSAGE_HEAD])
            if len(found) < end:
                return
            message = found[MESSAGE_HEAD:end]
            yield zlib.decompress(message, GZIP) if found[0] else message
            self._streams[stream] = found[end:]
        if not self._streams[stream]:
            del self._streams[stream]
