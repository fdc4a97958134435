"""Steps of whole networks on the CPU, as functions compiled by Numba.

The classes in `_kernels` and `_kernels_pixelcnn` lay out the weights and hold the states. WaveNet
and PixelCNN are in `_compiled_gated`.

A function reads T steps of B streams in one call. It gets few arguments, since Numba spends time on
each: `numbers` holds weights, states and scratch, `table` holds sizes and positions in `numbers`,
and inputs and outputs are addresses of contiguous arrays. Each stream has its own clock.

TCN and WaveNet keep the inputs of each convolution in ring buffers, one per phase t mod d of its
dilation d. Each input is written twice, k places apart, so that the last k inputs of a phase are
always contiguous: a convolution is then one small matrix times one contiguous window, without
copying.

Shape letters: B streams, T steps, I inputs, O outputs, L layers, H hidden units, K tokens.
"""

import math
from typing import Any

import numpy as np
from numba import extending, njit, types

from models._affine import OPTIONS as FAST
from models._affine import affine_arrays
from models._tanh import tanh

_intrinsic: Any = extending.intrinsic  # its type hides that the compiler adds the first argument
BATCH, TOKENS, NUM_X, NUM_C, HELD, NUM_Y, CLOCKS, STATE, STATE_SIZE, INPUT, SCRATCH, REST = range(
    12
)
"""Places in `table`: sizes and positions that all networks have; the network's own follow."""
LINEAR, RECTIFIED = -math.inf, 0.0
"""The least value of an output."""
F = np.float32


@_intrinsic
def _number(typing, like, address, index):
    """The number at this place of the array at an address."""

    def generate(context, builder, signature, arguments):
        number = context.get_value_type(signature.return_type).as_pointer()
        start = builder.inttoptr(arguments[1], number)
        return builder.load(builder.gep(start, [arguments[2]]))

    return like.dtype(like, types.int64, types.int64), generate


@_intrinsic
def _put(typing, value, address, index):
    """Store a number at this place of the array at an address."""

    def generate(context, builder, signature, arguments):
        start = builder.inttoptr(arguments[1], arguments[0].type.as_pointer())
        builder.store(arguments[0], builder.gep(start, [arguments[2]]))
        return context.get_dummy_value()

    return types.void(value, types.int64, types.int64), generate


@njit(**FAST)
def affine(numbers, x, num_inputs, w, size, start, out, least):
    """out = max(start + W x, least), all of them places in `numbers`.

    `affine_arrays` lays out W.
    """
    affine_arrays(numbers, w, numbers, x, num_inputs, numbers, start, numbers, out, size, least)


@njit(**FAST)
def _sigmoid(x):
    half = type(x)(0.5)
    return half + half * tanh(half * x)


@njit(**FAST)
def gate(x, n):
    """Replace the first n numbers a by tanh(a) ⊙ σ(b), where b are the n after them."""
    a, b = x[:n], x[n : 2 * n]
    for i in range(len(a)):
        a[i] = tanh(a[i]) * _sigmoid(b[i])


@njit(**FAST)
def known(table, x_address, num_steps):
    """Whether all ids are tokens."""
    if table[TOKENS]:
        for n in range(table[BATCH] * num_steps):
            if not 0 <= _number(table, x_address, n) < table[NUM_X]:
                return False
    return True


@njit(**FAST)
def read_step(numbers, table, x_address, c_address, n, stream):
    """Write the inputs of one step at `table[INPUT]`; n counts the steps of all streams."""
    num_x, num_c = table[NUM_X], table[NUM_C]
    inputs = numbers[table[INPUT] : table[INPUT] + num_x + num_c]
    if table[TOKENS]:
        inputs[:num_x] = 0
        inputs[_number(table, x_address, n)] = 1
    else:
        for i in range(num_x):
            inputs[i] = _number(numbers, x_address, n * num_x + i)
    row = stream if table[HELD] else n
    for i in range(num_c):
        inputs[num_x + i] = _number(numbers, c_address, row * num_c + i)
    return inputs


@njit(**FAST)
def write_step(numbers, table, y, y_address, n):
    for o in range(table[NUM_Y]):
        _put(numbers[y + o], y_address, n * table[NUM_Y] + o)


@njit(**FAST)
def _store(numbers, t, k, shift, num_inputs, ring, x):
    """Store x in a ring at step t. Returns the position of the last k inputs, the oldest first."""
    phase = t & ((1 << shift) - 1)
    slot = (t >> shift) % k
    first = ring + (phase * 2 * k + slot) * num_inputs
    value, one, two = (
        numbers[x : x + num_inputs],
        numbers[first : first + num_inputs],
        numbers[first + k * num_inputs : first + (k + 1) * num_inputs],
    )
    for i in range(num_inputs):
        one[i] = value[i]
        two[i] = value[i]
    return first + num_inputs


@njit(**FAST)
def _conv(numbers, t, k, shift, num_inputs, size, gated, ring, w, b, x, out):
    """A causal convolution of dilation 2^shift at step t, then a ReLU or a gated unit."""
    window = _store(numbers, t, k, shift, num_inputs, ring, x)
    if gated:
        affine(numbers, window, k * num_inputs, w, 2 * size, b, out, LINEAR)
        gate(numbers[out:], size)
    else:
        affine(numbers, window, k * num_inputs, w, size, b, out, RECTIFIED)


@njit(**FAST)
def _copy(numbers, source, target, size):
    a, b = numbers[source : source + size], numbers[target : target + size]
    for o in range(size):
        b[o] = a[o]


@njit(**FAST)
def _join(numbers, skip, z, h, size):
    """h = max(skip + z, 0)."""
    a, b, out = numbers[skip : skip + size], numbers[z : z + size], numbers[h : h + size]
    for o in range(size):
        total = a[o] + b[o]
        out[o] = 0 if total < 0 else total


@njit(**FAST)
def tcn_run(numbers, table, x_address, c_address, y_address, num_steps):
    """All blocks and the head, one stream after the other. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    k, gated, residual, num_blocks, h, a, z, w_head, b_head, y, y_size = table[REST : REST + 11]
    blocks = table[REST + 11 : REST + 11 + 12 * num_blocks].reshape(num_blocks, 12)
    for stream in range(table[BATCH]):
        state = table[STATE] + stream * table[STATE_SIZE]
        clock = table[CLOCKS] + stream
        for n in range(stream * num_steps, (stream + 1) * num_steps):
            read_step(numbers, table, x_address, c_address, n, stream)
            t, x, features = table[clock], table[INPUT], 0
            for shift in range(num_blocks):
                inputs, inner, features, inner_size, size, r1, r2, w1, b1, w2, b2, ws = blocks[
                    shift
                ]
                r1 += state
                r2 += state
                _conv(numbers, t, k, shift, inputs, inner_size, gated, r1, w1, b1, x, a)
                _conv(numbers, t, k, shift, inner, size, gated, r2, w2, b2, a, z)
                if not residual:
                    _copy(numbers, z, h, size)
                elif ws < 0:
                    _join(numbers, x, z, h, size)
                else:  # where the width changes, the residual is a 1×1 convolution
                    affine(numbers, x, inputs, ws + size, size, ws, a, LINEAR)
                    _join(numbers, a, z, h, size)
                x = h
            affine(numbers, h, features, w_head, y_size, b_head, y, LINEAR)
            write_step(numbers, table, y, y_address, n)
            table[clock] = t + 1
    return True


@njit(**FAST)
def _lstm(u, h, c):
    """PyTorch's order of the gates: i, f, g, o."""
    size = len(h)
    i, f, g, o = u[:size], u[size : 2 * size], u[2 * size : 3 * size], u[3 * size : 4 * size]
    for n in range(size):
        c[n] = _sigmoid(f[n]) * c[n] + _sigmoid(i[n]) * tanh(g[n])
    for n in range(size):
        h[n] = _sigmoid(o[n]) * tanh(c[n])


@njit(**FAST)
def _gru(u, v, h):
    """PyTorch's order of the gates: r, z, n. The gate r acts after the recurrent product."""
    size = len(h)
    u_r, u_z, u_n = u[:size], u[size : 2 * size], u[2 * size : 3 * size]
    v_r, v_z, v_n = v[:size], v[size : 2 * size], v[2 * size : 3 * size]
    for i in range(size):
        u_n[i] = tanh(u_n[i] + _sigmoid(u_r[i] + v_r[i]) * v_n[i])
    for i in range(size):
        h[i] = u_n[i] + _sigmoid(u_z[i] + v_z[i]) * (h[i] - u_n[i])


@njit(**FAST)
def recurrent_run(numbers, table, x_address, c_address, y_address, num_steps):
    """All layers and the head, one stream after the other. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    gates, relu, num_layers, u, v, w_head, b_head, y, y_size = table[REST : REST + 9]
    layers = table[REST + 9 : REST + 9 + 9 * num_layers].reshape(num_layers, 9)
    for stream in range(table[BATCH]):
        state = table[STATE] + stream * table[STATE_SIZE]
        for n in range(stream * num_steps, (stream + 1) * num_steps):
            read_step(numbers, table, x_address, c_address, n, stream)
            x, width = table[INPUT], 0
            for layer in range(num_layers):
                inputs, width, size, w_x, b_x, w_h, b_h, h_at, c_at = layers[layer]
                h = numbers[state + h_at : state + h_at + size]
                affine(numbers, x, inputs, w_x, gates * size, b_x, u, LINEAR)
                x = state + h_at
                if gates == 3:
                    affine(numbers, x, width, w_h, gates * size, b_h, v, LINEAR)
                    _gru(numbers[u : u + 3 * size], numbers[v : v + 3 * size], h)
                    continue
                least = RECTIFIED if relu else LINEAR
                affine(numbers, x, width, w_h, gates * size, u, v, least)
                sums = numbers[v : v + gates * size]
                if gates == 4:
                    _lstm(sums, h, numbers[state + c_at : state + c_at + size])
                elif relu:
                    h[:] = sums
                else:
                    for i in range(size):
                        h[i] = tanh(sums[i])
            affine(numbers, x, width, w_head, y_size, b_head, y, LINEAR)
            write_step(numbers, table, y, y_address, n)
    return True


@njit(nogil=True, cache=True)
def draw(logits_BK, temperature, uniform_B, ids_B):
    """Ids by inverse transform sampling from the softmax of logits / temperature."""
    for b in range(logits_BK.shape[0]):
        logits = logits_BK[b]
        largest = np.float64(logits.max())  # makes the differences below double precision
        total = 0.0
        for k in range(len(logits)):
            total += math.exp((logits[k] - largest) / temperature)
        rest = uniform_B[b] * total
        ids_B[b] = len(logits) - 1  # in case rounding leaves a positive rest
        for k in range(len(logits)):
            rest -= math.exp((logits[k] - largest) / temperature)
            if rest < 0:
                ids_B[b] = k
                break
