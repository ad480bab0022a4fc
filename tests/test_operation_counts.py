"""The counts of operations of bench/operation_counts.py, next to counts by hand."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from operation_counts import Operations, Registers, count_backward, count_forward, count_operations, useful
from step_cases import Case, list_cases

AVX512, AVX2 = Registers(64, 32, 32), Registers(32, 16, 32)
COSTS = {"multiply_add": 1.0, "simple": 1.0, "permute": 1.0, "load": 1.0, "store": 2.0}


def test_descent_at_p_11_by_hand():
    """h = 128 and n = 59 are 8 strips of units and 4 strips of samples of 16 lanes."""
    case = Case("descent", 11, 128, 59, 32)
    forward, backward = count_forward(case, AVX512), count_backward(case, AVX512)
    # For each strip of samples and unit: 11 multiply-adds, two permutes, an addition and a minimum. At the end, 2c.
    assert forward.multiply_adds == 4 * 128 * 11 + 4 * 11
    assert (forward.permutes, forward.simple) == (4 * 128 * 2, 4 * 128 * 2)
    # Two rows of Eᵀ each, a number of W for two strips, and the initial outputs.
    assert forward.loads == 4 * 128 * 2 + 2 * 128 * 11 + 4 * 11
    assert forward.stores == 4 * 11
    # For each sample and strip of units: 22 multiply-adds, 2 operations for H, an addition of partial sums, 2 for the
    # mask and 2 for the scatter. For each strip: two multiply-adds for the 11 rows of E and of W, and a transpose.
    assert backward.multiply_adds == 8 * 59 * 22 + 8 * 2 * (11 + 11)
    assert backward.simple == 8 * 59 * 7
    assert backward.permutes == 8 * 16 * 4
    assert backward.loads == 8 * 59 * (11 + 2 + 2) + 8 * (2 * 11 + 11 + 11)
    assert backward.stores == 8 * 59 * 2 + 8 * (2 * 11 + 11 + 16)
    assert useful(case, AVX512) == 6 * 59 * 11 * 128 / 2 / 16


def test_predicted_gradient_at_one_tile_by_hand():
    """With float64, n = h = 8 and p = 3 is one tile of 8 rows and one register of 8 lanes in every product.

    Half of a register holds the right-hand sides.
    """
    counted = count_operations(Case("predicted", 3, 8, 8, 64), Registers(64, 32, 64))
    elimination = 28 + 8  # pairs of columns, and scales
    multiply_adds = [
        8 * 4 + 4 * 4,  # K: its last four columns need half a register
        elimination,  # its factor
        elimination / 2,  # the solve of the right-hand sides
        elimination / 2,  # their transposed solve
        8 * 3,  # W
        8 * 3,  # gH
        3,  # the update
    ]
    assert counted.multiply_adds == sum(multiply_adds)
    # H twice: an addition and a maximum of 8 registers; a subtraction in each solve; gH in two parts; the mask; the
    # scatter; − E.
    assert counted.simple == 2 * 8 * 2 + 2 * 8 / 2 + 8 + 8 * 3 + 2 * 8 + 3
    assert counted.permutes == 8 * 3


def test_short_registers_have_more_padding_of_tiles_but_less_of_registers():
    case = Case("predicted", 11, 128, 59, 32)
    padding = [count_operations(case, level).multiply_adds / useful(case, level) for level in (AVX512, AVX2)]
    assert padding[0] > padding[1] > 1


@pytest.mark.parametrize("registers", [AVX512, AVX2, Registers(16, 16, 32), Registers(16, 32, 32)])
def test_every_row_needs_at_least_its_useful_multiply_adds(registers):
    for case in list_cases():
        if case.activation == "relu" and case.n < 600:  # Counts of larger problems take seconds.
            level = Registers(registers.bytes, registers.count, case.bits)
            assert count_operations(case, level).multiply_adds > useful(case, level)


def test_the_least_time_is_that_of_the_busiest_units():
    assert Operations(4, 2, 1, 3, 1).seconds(COSTS) == 7
    assert Operations(4, 2, 1, 8, 1).seconds(COSTS) == 8
    assert Operations(4, 2, 1, 8, 5).seconds(COSTS) == 10
    assert Operations(4, 2, 1, 3, 1).seconds(COSTS | {"simple": 0.0, "permute": 0.0}) == 4
