"""Frames between parent and worker: a JSON header and raw arrays, over a socket of their own. No pickle.

A frame is the header's length (4 bytes, big-endian), the header, and the arrays' bytes in the header's order.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays

_LENGTH = struct.Struct("!I")


def send(sock: socket.socket, header: dict[str, Any], arrays: Arrays | None = None) -> None:
    """Write one frame; TypeError, with nothing written, for an array of Python objects."""
    packed = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
    for name, array in packed.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name} holds Python objects; only numbers travel")
    described = [[name, array.dtype.str, list(array.shape)] for name, array in packed.items()]
    text = json.dumps({**header, "arrays": described}).encode()
    sock.sendall(_LENGTH.pack(len(text)) + text)
    for array in packed.values():
        sock.sendall(array.reshape(-1).view(np.uint8).data)


def receive(sock: socket.socket) -> tuple[dict[str, Any], Arrays]:
    """Read one frame, sleeping until it is there; EOFError when the other side is gone."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    header = json.loads(_exactly(sock, length))
    arrays: Arrays = {}
    for name, kind, shape in header.pop("arrays"):
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(_exactly(sock, count * dtype.itemsize), dtype=dtype).reshape(shape)
    return header, arrays


def _exactly(sock: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view, at = memoryview(buffer), 0
    while at < size:
        count = sock.recv_into(view[at:])
        if count == 0:
            raise EOFError("the other side closed the pipe")
        at += count
    return buffer
