"""Frames: what is sent arrives bit for bit, or an error does."""

import socket
import struct
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.measure import protocol

LAW = settings(max_examples=80)

dtypes = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays_of.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    arrays_of.unicode_string_dtypes(endianness="?", max_len=5),
)
shapes = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
batches = st.dictionaries(st.text(max_size=8), arrays_of.arrays(dtypes, shapes), max_size=3)
headers = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "arrays"),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    max_size=4,
)


@contextmanager
def pipe():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def transfer(header, batch):
    with pipe() as (left, right):
        protocol.send(left, header, batch)
        return protocol.receive(right)


def same(sent, received):
    return (sent.dtype, sent.shape, sent.tobytes()) == (received.dtype, received.shape, received.tobytes())


@LAW
@given(headers, batches)
def test_frame_arrives_as_it_was_sent(header, batch):
    received_header, received = transfer(header, batch)
    assert header == received_header
    assert list(batch) == list(received)
    assert all(same(batch[name], received[name]) for name in batch)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4).T,
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(12)[::-2],
        np.broadcast_to(np.float16(7), (2, 3)),
        np.ones((3, 0, 2)),
        np.array(0.5),
    ],
    ids=["transposed", "fortran", "reversed", "broadcast", "empty", "scalar"],
)
def test_any_memory_layout_and_shape_arrives(array):
    _, received = transfer({}, {"x": array})
    np.testing.assert_array_equal(array, received["x"])


def test_received_array_is_writable():
    _, received = transfer({}, {"x": np.zeros(3)})
    received["x"] += 1
    np.testing.assert_array_equal(np.ones(3), received["x"])


def test_nan_keeps_its_bits():
    strange = np.array([0x7FF8DEADBEEF0001], dtype=np.uint64).view(np.float64)
    _, received = transfer({}, {"x": strange})
    assert strange.tobytes() == received["x"].tobytes()


def test_frames_queue_in_order():
    with pipe() as (left, right):
        for number in range(5):
            protocol.send(left, {"number": number}, {"x": np.full(number, number)})
        for number in range(5):
            header, received = protocol.receive(right)
            assert {"number": number} == header
            assert [number] * number == received["x"].tolist()


def test_frame_larger_than_any_buffer_arrives():
    batch = {"x": np.random.default_rng(0).integers(0, 256, size=20_000_000, dtype=np.uint8)}
    with pipe() as (left, right):
        sender = threading.Thread(target=protocol.send, args=(left, {"size": "large"}, batch))
        sender.start()
        header, received = protocol.receive(right)
        sender.join()
    assert header == {"size": "large"}
    assert same(batch["x"], received["x"])


def test_objects_are_refused_with_nothing_sent():
    with pipe() as (left, right):
        with pytest.raises(TypeError, match="x holds Python objects"):
            protocol.send(left, {}, {"x": np.array([object()])})
        protocol.send(left, {"error": "the next frame"})
        assert protocol.receive(right)[0] == {"error": "the next frame"}


@LAW
@given(batches, st.data())
def test_partial_frame_is_an_end_of_file(batch, data):
    with pipe() as (left, right):
        protocol.send(left, {"number": 1}, batch)
        frame = right.recv(1_000_000)
    with pipe() as (left, right):
        left.sendall(frame[: data.draw(st.integers(0, len(frame) - 1))])
        left.close()
        with pytest.raises(EOFError, match="the other side closed the pipe"):
            protocol.receive(right)


def test_frame_is_json_and_raw_bytes():
    with pipe() as (left, right):
        protocol.send(left, {"number": 1}, {"x": np.array([1, 2], dtype="<i4")})
        frame = right.recv(1000)
    (length,) = struct.unpack("!I", frame[:4])
    assert frame[4 : 4 + length] == b'{"number": 1, "arrays": [["x", "<i4", [2]]]}'
    assert frame[4 + length :] == b"\x01\0\0\0\x02\0\0\0"
