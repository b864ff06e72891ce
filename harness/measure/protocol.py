"""Frames between parent and worker: a JSON header and raw arrays over their own socket, without pickle.

A frame is the header's length (4 bytes, big-endian), the header, and the arrays' bytes in the header's order.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays


def send(sock: socket.socket, header: dict[str, Any], arrays: Arrays | None = None) -> None:
    """Write one frame; raise TypeError, with nothing written, for an array of Python objects."""
    packed = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
    for name, array in packed.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name} holds Python objects; send numbers or fixed-width text")
    described = [[name, array.dtype.str, list(array.shape)] for name, array in packed.items()]
    text = json.dumps({**header, "arrays": described}).encode()
    sock.sendall(len(text).to_bytes(4, "big") + text)
    for array in packed.values():
        sock.sendall(array.reshape(-1).view(np.uint8).data)


def receive(sock: socket.socket) -> tuple[dict[str, Any], Arrays]:
    """Read one frame, sleeping until it arrives; raise EOFError when the other side has closed."""
    header = json.loads(_read(sock, int.from_bytes(_read(sock, 4), "big")))
    arrays: Arrays = {}
    for name, dtype_name, shape in header.pop("arrays"):
        dtype = np.dtype(dtype_name)
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(_read(sock, count * dtype.itemsize), dtype=dtype).reshape(shape)
    return header, arrays


def _read(sock: socket.socket, size: int) -> bytearray:
    """Read exactly `size` bytes."""
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        count = sock.recv_into(view[filled:])
        if count == 0:
            raise EOFError("the other side closed the pipe")
        filled += count
    return buffer
