"""Packing: every width takes exactly its bits, and nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.quant.packing import fields, pack, table, unpack

widths = st.integers(2, 8)


@given(widths, st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_codes_of_every_width_and_number_come_back(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, count)
    assert np.array_equal(unpack(pack(codes, bits), bits, count), codes)


@given(widths, st.integers(0, 300))
def test_each_field_takes_its_bits_rounded_up_to_a_byte(bits: int, count: int) -> None:
    runs = pack(np.zeros(count, np.int32), bits)
    assert sum(fields(bits)) == bits
    assert [len(run) for run in runs] == [(count * field + 7) // 8 for field in fields(bits)]
    if count % 8 == 0:
        assert 8 * sum(len(run) for run in runs) == bits * count


@given(st.integers(2, 7), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_tables_look_up_what_was_packed(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, count)
    looked_up = [table(bits, index)[run].reshape(-1)[:count] for index, run in enumerate(pack(codes, bits))]
    total = looked_up[0]
    for part in looked_up[1:]:
        total = total + part
    assert total.dtype == np.int8  # as the runtimes add them: nothing may overflow on the way
    assert np.array_equal(total, codes - (1 << (bits - 1)))


def test_the_order_of_bits_is_as_documented() -> None:
    assert pack(np.array([1, 2, 3, 0, 2]), 2)[0].tolist() == [0b00_11_10_01, 0b10]
    high, low = pack(np.array([0b101, 0b010]), 3)
    assert (high.tolist(), low.tolist()) == ([0b01_10], [0b01])


def test_a_tensor_is_packed_in_row_major_order() -> None:
    codes = np.arange(16).reshape(2, 8)[:, ::2]
    assert np.array_equal(unpack(pack(codes, 4), 4, 8), codes.reshape(-1))


@pytest.mark.parametrize("codes", [[4], [-1]])
def test_codes_that_do_not_fit_are_refused(codes: list[int]) -> None:
    with pytest.raises(BadInput, match="do not fit 2 bits: expected 0 … 3"):
        pack(np.array(codes), 2)


@pytest.mark.parametrize("bits", [1, 9])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(BadInput, match="expected 2 to 8"):
        pack(np.zeros(1, np.int32), bits)
