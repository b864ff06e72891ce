"""Laws of arrays by row in one file: what goes in comes out, whatever the shapes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.evaluation import predictions

LAW = settings(max_examples=80)


@st.composite
def tables(draw):
    """Rows that have the same names, numbers of axes and types, each in shapes of its own."""
    names = draw(st.lists(st.sampled_from(["logits", "sequences", "a b", "ä"]), min_size=1, max_size=3, unique=True))
    types = st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_])
    forms = {name: (draw(types), draw(st.integers(0, 3))) for name in names}
    return [
        {
            name: draw(
                arrays_of.arrays(
                    kind, arrays_of.array_shapes(min_dims=axes, max_dims=axes, min_side=0, max_side=3) if axes else ()
                )
            )
            for name, (kind, axes) in forms.items()
        }
        for _ in range(draw(st.integers(0, 4)))
    ]


def there_and_back(rows):
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.safetensors"
        predictions.save(rows, file)
        return predictions.load(file)


@LAW
@given(tables())
def test_rows_come_out_as_they_went_in(rows):
    found = there_and_back(rows)
    assert len(rows) == len(found)
    for own, other in zip(rows, found, strict=True):
        assert set(own) == set(other)
        for name, values in own.items():
            assert (values.dtype, values.shape) == (other[name].dtype, other[name].shape)
            np.testing.assert_array_equal(values, other[name])


def test_what_is_no_block_of_memory_is_written_as_it_looks():
    values = np.arange(6).reshape(2, 3)
    (found,) = there_and_back([{"turned": values.T[::-1]}])
    np.testing.assert_array_equal(values.T[::-1], found["turned"])
