"""Steps of Mamba, as functions compiled by Numba. See `_compiled` and, for the scan,
`_mamba_kernels`.
"""

import math

import numpy as np
from numba import njit

from models._compiled import (
    _LINEAR,
    BATCH,
    FAST,
    INPUT,
    NUM_C,
    NUM_X,
    REST,
    STATE,
    STATE_SIZE,
    _affine,
    known,
    read_step,
    write_step,
)
from models._mamba_kernels import advance, rates, sigmoid


@njit(**FAST)
def _norm(numbers, x, size, gain, out):
    """out = x over its root mean square."""
    number = numbers.dtype.type
    a, g, y = numbers[x : x + size], numbers[gain : gain + size], numbers[out : out + size]
    square = number(0)
    for i in range(size):
        square += a[i] * a[i]
    scale = number(1) / math.sqrt(square / number(size) + np.finfo(numbers.dtype).eps)
    for i in range(size):
        y[i] = a[i] * scale * g[i]


@njit(**FAST)
def _convolve(numbers, u, size, num_taps, taps, bias, window, scratch):
    """u becomes the SiLU of the convolution; the window, the inputs before, moves on by it."""
    x, total = numbers[u : u + size], numbers[scratch : scratch + size]
    total[:] = numbers[bias : bias + size]
    last = num_taps - 1
    for k in range(num_taps):
        at = u if k == last else window + k * size
        w, past = numbers[taps + k * size : taps + (k + 1) * size], numbers[at : at + size]
        for d in range(size):
            total[d] += w[d] * past[d]
    for i in range(window, window + (last - 1) * size):
        numbers[i] = numbers[i + size]
    numbers[window + (last - 1) * size : window + last * size] = x
    for d in range(size):
        x[d] = total[d] * sigmoid(total[d])


@njit(**FAST)
def _scan(numbers, u, size, count, raw, a, b, skip, h, scratch):
    """u becomes the output of the scan, gated by what follows it; h becomes the next state."""
    x, z = numbers[u : u + size], numbers[u + size : u + 2 * size]
    added, delta = numbers[scratch : scratch + size], numbers[raw : raw + size]
    total = numbers[scratch + size : scratch + 2 * size]
    after = numbers[scratch + 2 * size : scratch + (2 + count) * size]
    factors = numbers[scratch + (2 + count) * size : scratch + (2 + 2 * count) * size]
    b_N, c_N = numbers[b : b + count], numbers[b + count : b + 2 * count]
    state, gains = numbers[h : h + count * size], numbers[skip : skip + size]
    rates(delta, x, delta, added)
    advance(delta, numbers[a : a + count * size], b_N, c_N, added, state, factors, after, total)
    state[:] = after
    for d in range(size):
        x[d] = (total[d] + gains[d] * x[d]) * z[d] * sigmoid(z[d])


@njit(**FAST)
def mamba_run(numbers, table, x_address, c_address, y_address, num_steps):
    """All blocks and the head, one stream after the other. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    num_blocks, num_taps, count, rank, selected, width, size = table[REST : REST + 7]
    w_input, b_input, gain, w_head, b_head, y, y_size = table[REST + 7 : REST + 14]
    h, v, u, s, raw, scratch = table[REST + 14 : REST + 20]
    blocks = table[REST + 20 : REST + 20 + 15 * num_blocks].reshape(num_blocks, 15)
    num_inputs = table[NUM_X] + table[NUM_C]
    for stream in range(table[BATCH]):
        state = table[STATE] + stream * table[STATE_SIZE]
        for n in range(stream * num_steps, (stream + 1) * num_steps):
            read_step(numbers, table, x_address, c_address, n, stream)
            _affine(numbers, table[INPUT], num_inputs, w_input, size, b_input, h, _LINEAR)
            for block in range(num_blocks):
                units, unit_size, past, g, w_u, b_u, taps, bias = blocks[block, :8]
                w_s, b_s, w_raw, b_raw, a, w_out, b_out = blocks[block, 8:]
                _norm(numbers, h, width, g, v)
                _affine(numbers, v, width, w_u, 2 * unit_size, b_u, u, _LINEAR)
                window = state + past
                _convolve(numbers, u, unit_size, num_taps, taps, bias, window, scratch)
                _affine(numbers, u, units, w_s, selected, b_s, s, _LINEAR)
                _affine(numbers, s, rank, w_raw, unit_size, b_raw, raw, _LINEAR)
                h_at, skip = window + (num_taps - 1) * unit_size, a + count * unit_size
                _scan(numbers, u, unit_size, count, raw, a, s + rank, skip, h_at, scratch)
                _affine(numbers, u, units, w_out, size, b_out, v, _LINEAR)
                for i in range(width):
                    numbers[h + i] += numbers[v + i]
            _norm(numbers, h, width, gain, v)
            _affine(numbers, v, width, w_head, y_size, b_head, y, _LINEAR)
            write_step(numbers, table, y, y_address, n)
    return True
