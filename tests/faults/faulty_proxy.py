"""A TCP proxy before a database that can be slow, and can refuse all that needs space."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import bson

from onfly.testing.findandmodify_proxy import HEADER, OP_MSG, command, receive

__all__ = ["FaultyProxy"]

_WRITES = (b"insert", b"update", b"findAndModify", b"findandmodify", b"create", b"createIndexes")
_FULL = {
    "ok": 0.0,
    "errmsg": "available disk space of 0 bytes is less than required minimum of 500 MB",
    "code": 14031,
    "codeName": "OutOfDiskSpace",
}


class FaultyProxy:
    """Forward connections to a port of this machine.

    Parameters
    ----------
    target_port
        Of the server.
    delay
        Seconds before each answer.
    full
        Whether writes are refused, as a server with a full disk does.
    """

    def __init__(self, target_port: int, delay: float = 0.0, full: bool = False) -> None:
        self.target_port, self.delay, self.full = target_port, delay, full
        self.refused = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pair, args=(client,), daemon=True).start()

    def _pair(self, client: socket.socket) -> None:
        """Answer one connection, request by request: the driver waits for each answer."""
        with client, suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
            server.settimeout(None)
            with server:
                while (request := receive(client)) is not None:
                    if self.full and command(request) in _WRITES:
                        self.refused += 1
                        client.sendall(_refusal(request))
                        continue
                    server.sendall(request)
                    if _expects_none(request):
                        continue
                    answer = receive(server)
                    if answer is None:
                        return
                    time.sleep(self.delay)
                    client.sendall(answer)


def _expects_none(message: bytes) -> bool:
    # flag moreToCome: an unacknowledged write
    return HEADER.unpack_from(message)[3] == OP_MSG and bool(message[16] & 2)


def _refusal(request: bytes) -> bytes:
    body = b"\0\0\0\0" + b"\0" + bson.encode(_FULL)
    number = HEADER.unpack_from(request)[1]
    return HEADER.pack(HEADER.size + len(body), 0, number, OP_MSG) + body
