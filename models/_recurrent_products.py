"""Products of the weights of recurrent layers with the columns of one step, compiled by Numba.

Sixteen sequences at a time go through all steps, one per lane of a vector register (see `_lanes`).
Of a single sequence the lanes are outputs instead (see `_affine`). The number of lanes, 16 or 1,
is an argument of these functions.

A column is [x_t; 1; h_{t−1}]. Not every row of the weights reads all of it: `parts` has a row of
four numbers (first, last, begin, end) for each range of outputs first … last − 1, which reads the
operands begin … end − 1.

Shape letters: B sequences, T steps, I inputs or other features, G rows, K = I + 1 + H, P parts.
"""

import numpy as np
from numba import njit

from models._affine import PANEL_BYTES, VECTOR_BYTES, affine_arrays
from models._lanes import (
    LANES,
    MOST_POSITIONS,
    MOST_ROWS,
    OPTIONS,
    add_outer_rows,
    num_rows,
    sum_rows,
)

MOST_STEPS = 256
"""Steps of a single sequence whose weight gradients are summed at a time."""
NUM_ZEROS = MOST_ROWS * LANES
"""Zeros behind the packed weights, with which sums begin."""


@njit(**OPTIONS)
def _padded(num_outputs, itemsize):
    """This number of outputs in whole vectors."""
    vector = VECTOR_BYTES // itemsize
    return (num_outputs + vector - 1) // vector * vector


@njit(**OPTIONS)
def _group(num_left, lanes, itemsize):
    """How many of the outputs that are left are stored together."""
    if lanes == 1:
        return min(PANEL_BYTES // itemsize, _padded(num_left, itemsize))
    return num_rows(num_left, 0, 0, (num_left + MOST_ROWS - 1) // MOST_ROWS)


@njit(**OPTIONS)
def room(num_rows, lanes, like):
    """Numbers of an array for this many rows. The last vector of a single sequence is padded."""
    return num_rows * lanes + VECTOR_BYTES // like.itemsize


@njit(**OPTIONS)
def pack(parts_P4, w_GK, transposed, lanes, packed):
    """Write the weights, or the transposed weights, in the order in which `multiply` reads them.

    `packed` has zeros at its end, which stay.
    """
    at = 0
    for p in range(len(parts_P4)):
        row, last, begin, end = parts_P4[p]
        while row < last:
            rows = _group(last - row, lanes, packed.itemsize)
            for j in range(begin, end):
                for i in range(row, row + rows):
                    packed[at] = 0
                    if i < last:
                        packed[at] = w_GK[j, i] if transposed else w_GK[i, j]
                    at += 1
            row += rows


@njit(**OPTIONS)
def multiply(parts_P4, w, x, x_at, y, y_at, lanes):
    """y = W x. Beyond the rows of each part, up to a whole vector of y may become zero."""
    least = w.dtype.type(-np.inf)
    at, zeros = 0, len(w) - NUM_ZEROS
    for p in range(len(parts_P4)):
        row, last, begin, end = parts_P4[p]
        while row < last:
            rows = _group(last - row, lanes, w.itemsize)
            x_begin, y_row = x_at + begin * lanes, y_at + row * lanes
            if lanes == 1:
                affine_arrays(w, at, x, x_begin, end - begin, w, zeros, y, y_row, rows, least)
            else:
                sum_rows(rows, w, at, 0, x, x_begin, 0, 1, end - begin, w, zeros, least, y, y_row)
            at += rows * (end - begin)
            row += rows


@njit(**OPTIONS)
def num_slots(lanes):
    """Steps whose gradients are kept until `add_outer` takes them."""
    return MOST_STEPS if lanes == 1 else MOST_POSITIONS


@njit(**OPTIONS)
def add_outer(parts_P4, ds, num_outputs, columns, at, width, num_steps, lanes, dw):
    """dw += Σ_t ds_t x_tᵀ over the first steps of ds, and over the columns from `at` on.

    A column has `width` rows. `unpack_gradient` knows the order of dw. Sums that no part needs may
    be computed too.
    """
    least = dw.dtype.type(-np.inf)
    for p in range(len(parts_P4)):
        row, last, begin, end = parts_P4[p]
        while row < last:
            rows = _group(last - row, LANES, dw.itemsize)
            if lanes == 1:
                for block in range(begin // LANES, (end + LANES - 1) // LANES):
                    to = (block * num_outputs + row) * LANES
                    x_at = at + block * LANES
                    sum_rows(
                        rows, ds, row, num_outputs, columns, x_at, width, num_steps, 1,
                        dw, to, least, dw, to,
                    )  # fmt: skip
            else:
                for column in range(begin, end, 2):
                    add_outer_rows(
                        rows,
                        2,
                        ds,
                        row * LANES,
                        num_outputs * LANES,
                        columns,
                        at + column * LANES,
                        width * LANES,
                        num_steps,
                        dw,
                        row * width + column,
                        width,
                    )
            row += rows


@njit(**OPTIONS)
def gradient_room(num_outputs, width):
    """Numbers of an array for the gradient of the weights."""
    return num_outputs * ((width + LANES - 1) // LANES) * LANES


@njit(**OPTIONS)
def unpack_gradient(dw, width, lanes, dw_GK):
    num_outputs = len(dw_GK)
    for row in range(num_outputs):
        for column in range(dw_GK.shape[1]):
            place = row * width + column
            if lanes == 1:
                block, lane = column // LANES, column % LANES
                place = (block * num_outputs + row) * LANES + lane
            dw_GK[row, column] = dw[place]


@njit(**OPTIONS)
def read(source_BTI, t, first, lanes, out):
    """The values of step t of the sequences from `first` on; lanes without a sequence are zero."""
    num_features = source_BTI.shape[2]
    for lane in range(lanes):
        if first + lane < len(source_BTI):
            row = source_BTI[first + lane, t]
            for i in range(num_features):
                out[i * lanes + lane] = row[i]
        else:
            for i in range(num_features):
                out[i * lanes + lane] = 0


@njit(**OPTIONS)
def write(values, first, lanes, out_BTI, t):
    """The values of step t of these sequences, in `out`."""
    for lane in range(min(lanes, len(out_BTI) - first)):
        row = out_BTI[first + lane, t]
        for i in range(row.shape[0]):
            row[i] = values[i * lanes + lane]


@njit(**OPTIONS)
def start_column(x_BTI, t, first, lanes, column):
    """[x_t; 1]. Lanes without a sequence have 0 for 1, so that their states stay zero."""
    read(x_BTI, t, first, lanes, column)
    num_inputs = x_BTI.shape[2]
    for lane in range(lanes):
        column[num_inputs * lanes + lane] = 1 if first + lane < len(x_BTI) else 0
