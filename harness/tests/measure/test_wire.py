"""Laws of the pipe: what goes in comes out, bit for bit, or nothing does."""

import socket
import struct
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.measure import adapters, protocol

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


def there_and_back(header, batch):
    with pipe() as (left, right):
        protocol.send(left, header, batch)
        return protocol.receive(right)


def same(sent, got):
    return (sent.dtype, sent.shape, sent.tobytes()) == (got.dtype, got.shape, got.tobytes())


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
cells = {
    "text": words,
    "words": st.lists(words, max_size=4),
    "nested": st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=3),
    "number": st.integers(-1000, 1000),
}


@LAW
@given(st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=5))
def test_rows_come_out_of_their_columns_as_they_went_in(rows):
    _, found = there_and_back({}, adapters.columns_of(rows, tuple(cells)))
    # Numbers may come back as arrays.
    plain = [
        {name: getattr(value, "tolist", lambda v=value: v)() for name, value in row.items()}
        for row in adapters.rows_of(found)
    ]
    assert rows == plain


def test_images_travel_as_arrays():
    images = [{"image": np.full((2, 3), shade, dtype=np.uint8)} for shade in (0, 255)]
    _, found = there_and_back({}, adapters.columns_of(images, ("image",)))
    assert ((2, 2, 3), np.uint8) == (found["image"].shape, found["image"].dtype)
    for own, other in zip(images, adapters.rows_of(found), strict=True):
        np.testing.assert_array_equal(own["image"], other["image"])


def test_lists_of_numbers_in_one_shape_travel_as_an_array():
    """`datasets` gives images of a package as nested lists; reading them as text would be timed as the model's."""
    (name,) = adapters.columns_of([{"image": [[1, 2], [3, 4]]}] * 2, ("image",))
    assert "image" == name


@LAW
@given(headers, batches)
def test_a_frame_comes_out_as_it_went_in(header, batch):
    found_header, found = there_and_back(header, batch)
    assert header == found_header
    assert list(batch) == list(found)
    assert all(same(batch[name], found[name]) for name in batch)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0, 2), (1,), (2, 3)], ids=str)
def test_every_shape_survives(shape):
    _, found = there_and_back({}, {"logits": np.ones(shape, dtype=np.float32)})
    assert shape == found["logits"].shape


@pytest.mark.parametrize(
    "view",
    [
        np.arange(12).reshape(3, 4).T,
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(12)[::-2],
        np.broadcast_to(np.float16(7), (2, 3)),
    ],
    ids=["transposed", "fortran", "reversed", "broadcast"],
)
def test_an_array_may_lie_in_memory_as_it_likes(view):
    _, found = there_and_back({}, {"x": view})
    np.testing.assert_array_equal(view, found["x"])


def test_a_received_array_may_be_written_to():
    _, found = there_and_back({}, {"x": np.zeros(3)})
    found["x"] += 1
    np.testing.assert_array_equal(np.ones(3), found["x"])


def test_nan_keeps_its_bits():
    strange = np.array([0x7FF8DEADBEEF0001], dtype=np.uint64).view(np.float64)
    _, found = there_and_back({}, {"x": strange})
    assert strange.tobytes() == found["x"].tobytes()


def test_frames_queue_in_order():
    with pipe() as (left, right):
        for number in range(5):
            protocol.send(left, {"number": number}, {"x": np.full(number, number)})
        for number in range(5):
            header, found = protocol.receive(right)
            assert {"number": number} == header
            assert [number] * number == found["x"].tolist()


def test_a_frame_larger_than_any_buffer_arrives():
    batch = {"x": np.random.default_rng(0).integers(0, 256, size=20_000_000, dtype=np.uint8)}
    with pipe() as (left, right):
        sender = threading.Thread(target=protocol.send, args=(left, {"size": "large"}, batch))
        sender.start()
        header, found = protocol.receive(right)
        sender.join()
    assert header == {"size": "large"}
    assert same(batch["x"], found["x"])


def test_objects_are_not_sent_and_leave_nothing_half_sent():
    with pipe() as (left, right):
        with pytest.raises((TypeError, ValueError)):
            protocol.send(left, {}, {"x": np.array([object()])})
        protocol.send(left, {"error": "what the other side must be able to read"})
        assert protocol.receive(right)[0] == {"error": "what the other side must be able to read"}


def test_the_end_of_the_other_side_is_told():
    with pipe() as (left, right):
        left.close()
        with pytest.raises(EOFError, match="the other side closed the pipe"):
            protocol.receive(right)


@LAW
@given(batches, st.data())
def test_half_a_frame_is_no_frame(batch, data):
    with pipe() as (left, right):
        protocol.send(left, {"number": 1}, batch)
        whole = right.recv(1_000_000)
    with pipe() as (left, right):
        left.sendall(whole[: data.draw(st.integers(0, len(whole) - 1))])
        left.close()
        with pytest.raises(EOFError, match="the other side closed the pipe"):
            protocol.receive(right)


def test_a_frame_holds_no_pickle():
    with pipe() as (left, right):
        protocol.send(left, {"number": 1}, {"x": np.array([1, 2], dtype="<i4")})
        whole = right.recv(1000)
    (length,) = struct.unpack("!I", whole[:4])
    assert whole[4 : 4 + length] == b'{"number": 1, "arrays": [["x", "<i4", [2]]]}'
    assert whole[4 + length :] == b"\x01\0\0\0\x02\0\0\0"
