"""Matrices times rows of lanes, and their gradients: the products of `_stack_kernels`.

An activation is (T, C, 16): each channel of a step is a row of 16 lanes, one for each sequence.

Shape letters: B sequences, T steps, I inputs, H channels, P outputs of a matrix, K its inputs.
"""

import numpy as np
from numba import njit

from models._lane_rows import PARTS, add_outer_lanes
from models._lanes import LANES, MOST_COLUMNS, MOST_ROWS, OPTIONS, num_rows, sum_rows


@njit(**OPTIONS)
def pack(matrices, flat, forward, backward):
    """Write each matrix (P, K) and its transpose in the order in which `multiply` reads them."""
    for n in range(len(matrices)):
        at, num_out, num_in = matrices[n]
        for columns in (False, True):
            to = backward if columns else forward
            outer, inner = (num_in, num_out) if columns else (num_out, num_in)
            groups, row = (outer + 5) // MOST_ROWS, 0
            for group in range(groups):
                rows = num_rows(outer, row, group, groups)
                for o in range(row, row + rows):
                    for i in range(inner):
                        place = i * num_in + o if columns else o * num_in + i
                        to[at + row * inner + i * rows + o - row] = flat[at + place]
                row += rows


@njit(**OPTIONS)
def multiply(packed, at, num_out, num_in, x, x_at, start, start_at, start_step, y, y_at, steps):
    """y = start + W x at each step."""
    least = packed.dtype.type(-np.inf)
    groups = (num_out + 5) // MOST_ROWS
    for t in range(steps):
        row = 0
        for group in range(groups):
            rows = num_rows(num_out, row, group, groups)
            sum_rows(
                rows,
                packed,
                at + row * num_in,
                0,
                x,
                x_at + t * num_in * LANES,
                0,
                1,
                num_in,
                start,
                start_at + t * start_step + row * LANES,
                least,
                y,
                y_at + (t * num_out + row) * LANES,
            )
            row += rows


@njit(**OPTIONS)
def add_outer(dy, dy_at, num_out, x, x_at, num_in, steps, sums, at):
    """sums[o, i] += Σ dy[o] x[i] over steps, in 8 parts per number and in the order of tiles."""
    groups, row = (num_out + 5) // MOST_ROWS, 0
    at *= PARTS
    for group in range(groups):
        rows = num_rows(num_out, row, group, groups)
        for column in range(0, num_in, MOST_COLUMNS):
            columns = min(MOST_COLUMNS, num_in - column)
            add_outer_lanes(
                rows,
                columns,
                dy,
                dy_at + row * LANES,
                num_out * LANES,
                x,
                x_at + column * LANES,
                num_in * LANES,
                steps,
                sums,
                at,
            )
            at += rows * columns * PARTS
        row += rows


@njit(**OPTIONS)
def unpack(matrices, sums, gradient):
    """Write the gradient of each matrix from the parts that `add_outer` has summed."""
    for n in range(len(matrices)):
        to, num_out, num_in = matrices[n]
        groups, row, at = (num_out + 5) // MOST_ROWS, 0, to * PARTS
        for group in range(groups):
            rows = num_rows(num_out, row, group, groups)
            for column in range(0, num_in, MOST_COLUMNS):
                columns = min(MOST_COLUMNS, num_in - column)
                for o in range(row, row + rows):
                    for i in range(column, column + columns):
                        gradient[to + o * num_in + i] = sums[at : at + PARTS].sum()
                        at += PARTS
            row += rows


@njit(**OPTIONS)
def to_lanes(x_BTI, first, begin, steps, rows, out, at):
    """Steps of the sequences `first` and after, as (T, rows, 16); lanes without one are zero."""
    num_sequences, _, num_inputs = x_BTI.shape
    lanes = min(LANES, num_sequences - first)
    for t in range(steps):
        to = out[at + t * rows * LANES : at + (t * rows + num_inputs) * LANES]
        if lanes < LANES:
            to[:] = 0
        for lane in range(lanes):
            row = x_BTI[first + lane, begin + t]
            for i in range(num_inputs):
                to[i * LANES + lane] = row[i]


@njit(**OPTIONS)
def from_lanes(values, at, rows, first, begin, steps, out_BTH):
    for t in range(steps):
        row = values[at + t * rows * LANES : at + (t + 1) * rows * LANES]
        for lane in range(min(LANES, len(out_BTH) - first)):
            to = out_BTH[first + lane, begin + t]
            for i in range(len(to)):
                to[i] = row[i * LANES + lane]
