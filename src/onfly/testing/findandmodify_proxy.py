"""A TCP proxy that lets one `findAndModify` through at a time.

The test server returns a stale document from concurrent `findAndModify` commands, on which
FireWorks and jobflow-remote build their counters; MongoDB itself does not. With the proxy the test
server is as exclusive as MongoDB.

Run it alone with ``python -m onfly.testing.findandmodify_proxy LISTEN_PORT SERVER_PORT``.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading

__all__ = ["HEADER", "OP_MSG", "FindAndModifyProxy", "command", "receive"]

logger = logging.getLogger(__name__)

OP_MSG = 2013
HEADER = struct.Struct("<iiii")  # length, request id, response to, opcode
_NAMES = (b"findAndModify", b"findandmodify")


class FindAndModifyProxy:
    """Forward connections from one port to another.

    Parameters
    ----------
    target_port
        Port of the server on 127.0.0.1. It may go away and come back.
    port
        Port to listen on; 0 takes a free one.
    """

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.target_port = target_port
        self._turn = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._closed = False

    def start(self) -> FindAndModifyProxy:
        """Accept connections in a thread of this process."""
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self) -> None:
        """Accept connections until `close`."""
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            _Connection(client, server, self._turn).start()

    def close(self) -> None:
        """Stop listening; open connections end with their peers."""
        self._closed = True
        self._listener.close()


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket, turn: threading.Lock) -> None:
        self.client, self.server, self.turn = client, server, turn
        self.waiting_for: int | None = None
        self.state = threading.Lock()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for work in (self._requests, self._replies):
            threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work) -> None:
        try:
            work()
        except OSError as error:
            logger.debug("connection ended: %s", error)
        finally:
            self._done(None)
            for end in (self.client, self.server):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    end.close()

    def _requests(self) -> None:
        while (message := receive(self.client)) is not None:
            if command(message) in _NAMES:
                self.turn.acquire()
                with self.state:
                    self.waiting_for = HEADER.unpack_from(message)[1]
            self.server.sendall(message)

    def _replies(self) -> None:
        while (message := receive(self.server)) is not None:
            self._done(HEADER.unpack_from(message)[2])
            self.client.sendall(message)

    def _done(self, answered: int | None) -> None:
        """Give the turn back when the reply came, or (None) the connection ended."""
        with self.state:
            if self.waiting_for is not None and answered in (None, self.waiting_for):
                self.waiting_for = None
                self.turn.release()


def receive(end: socket.socket) -> bytes | None:
    """Return the next message of a connection, or None at its end."""
    header = _read(end, HEADER.size)
    if header is None:
        return None
    rest = _read(end, HEADER.unpack(header)[0] - HEADER.size)
    return None if rest is None else header + rest


def _read(end: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = end.recv(min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def command(message: bytes) -> bytes:
    """Return the name of the command in a message; nothing for other kinds of messages."""
    # flags (4 bytes), section kind (1), document length (4), type of the first element (1), name
    if HEADER.unpack_from(message)[3] != OP_MSG:
        return b""
    return message[26 : message.find(b"\0", 26)]


if __name__ == "__main__":
    FindAndModifyProxy(int(sys.argv[2]), int(sys.argv[1])).serve()
