"""Steps of residual stacks of linear recurrences, as functions compiled by Numba. See `_compiled`.

The gain of each norm is part of the weights behind it, and products are computed before the norm's
factor r is known: W (h r) = r (W h).
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from models._compiled import (
    BATCH,
    CLOCKS,
    FAST,
    INPUT,
    LINEAR,
    REST,
    STATE,
    STATE_SIZE,
    _intrinsic,
    _sigmoid,
    affine,
    known,
    read_step,
    write_step,
)
from models._tanh import tanh

MINGRU, MINLSTM, S4D, LRU = range(4)
"""Kinds of mixers."""
NUM_SIZES, NUM_OF_BLOCK = 17, 10
"""Places of a stack and of each of its blocks in the table."""


@njit(**FAST)
def _inverse_rms(h, width, eps):
    total = h.dtype.type(0)
    for i in range(len(h)):  # what is beyond the width is zero
        total += h[i] * h[i]
    return h.dtype.type(1) / np.sqrt(total / h.dtype.type(width) + eps)


@njit(**FAST)
def _rescale(p, r, bias):
    for i in range(len(p)):
        p[i] = r * p[i] + bias[i]


@njit(**FAST)
def _positive(x):
    return x + type(x)(0.5) if x >= 0 else _sigmoid(x)


@njit(**FAST)
def _min_gru(p, h):
    size = len(h)
    z, g = p[:size], p[size : 2 * size]
    for i in range(size):
        h[i] += _sigmoid(z[i]) * (_positive(g[i]) - h[i])


@njit(**FAST)
def _min_lstm(p, h):
    size = len(h)
    f, i, g = p[:size], p[size : 2 * size], p[2 * size : 3 * size]
    for n in range(size):
        f[n] = _sigmoid(f[n])
    for n in range(size):
        i[n] = _sigmoid(i[n])
    for n in range(size):
        candidate = _positive(g[n])
        h[n] = candidate + f[n] / (f[n] + i[n]) * (h[n] - candidate)


@_intrinsic
def _s4d(typing, numbers, constants, h, num_pairs, u, y):
    """h = a h + u and y += Re(c h), for one vector of channels.

    For each pair of states, `constants` has a and c, and h has h, as vectors of real and of
    imaginary parts. The sums of y stay in registers.
    """
    i64 = types.int64
    signature = types.void(numbers, i64, i64, i64, i64, i64)

    def generate(context, builder, signature, arguments):
        array, constants, h, num_pairs, u, y = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        lanes = 32 // context.get_abi_sizeof(data.type.pointee)
        vector = ir.VectorType(data.type.pointee, lanes)

        def place(start, number):
            at = builder.gep(data, [builder.add(start, ir.IntType(64)(number * lanes))])
            return builder.bitcast(at, vector.as_pointer())

        def load(start, number=0):
            return builder.load(place(start, number), align=4)

        def product_added(a, b, total):
            product = builder.fmul(a, b, flags=("contract",))
            return builder.fadd(product, total, flags=("contract",))

        def minus(a):
            return builder.fsub(ir.Constant(vector, [-0.0] * lanes), a)

        u_vector = load(u)
        sums = [cgutils.alloca_once_value(builder, load(y))]
        sums.append(cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * lanes)))
        with cgutils.for_range(builder, num_pairs) as loop:
            at = builder.add(constants, builder.mul(loop.index, ir.IntType(64)(4 * lanes)))
            to = builder.add(h, builder.mul(loop.index, ir.IntType(64)(2 * lanes)))
            a_re, a_im, c_re, c_im = (load(at, number) for number in range(4))
            h_re, h_im = load(to), load(to, 1)
            turned = product_added(a_re, h_re, u_vector)
            re = product_added(minus(a_im), h_im, turned)
            im = product_added(a_im, h_re, builder.fmul(a_re, h_im, flags=("contract",)))
            builder.store(re, place(to, 0), align=4)
            builder.store(im, place(to, 1), align=4)
            builder.store(product_added(c_re, re, builder.load(sums[0])), sums[0])
            builder.store(product_added(minus(c_im), im, builder.load(sums[1])), sums[1])
        total = builder.fadd(builder.load(sums[0]), builder.load(sums[1]))
        builder.store(total, place(y, 0), align=4)
        return context.get_dummy_value()

    return signature, generate


@njit(**FAST)
def _rotate(a, b, h):
    """h = a h + b; each has its real parts first."""
    size = len(h) // 2
    a_re, a_im, b_re, b_im = a[:size], a[size : 2 * size], b[:size], b[size : 2 * size]
    h_re, h_im = h[:size], h[size:]
    for i in range(size):
        re = a_re[i] * h_re[i] - a_im[i] * h_im[i] + b_re[i]
        im = a_re[i] * h_im[i] + a_im[i] * h_re[i] + b_im[i]
        h_re[i] = re
        h_im[i] = im


@njit(**FAST)
def _gelu(y):
    half, cubic = type(y[0])(0.5), type(y[0])(0.044715)
    scale, one = type(y[0])(math.sqrt(2 / math.pi)), type(y[0])(1)
    for i in range(len(y)):
        y[i] *= half * (one + tanh(scale * (y[i] + cubic * y[i] * y[i] * y[i])))


@njit(**FAST)
def _add_gated(p, h):
    """h += a σ(b), where b are the numbers after a."""
    size = len(h)
    a, b = p[:size], p[size : 2 * size]
    for i in range(size):
        h[i] += a[i] * _sigmoid(b[i])


@njit(**FAST)
def _add(x, out):
    for i in range(len(out)):
        out[i] += x[i]


@njit(**FAST)
def _mix(numbers, kind, sizes, block, r, state):
    """One step of a mixer. Returns the position of its outputs."""
    gates, width, size, h, u, p, y, zeros = sizes
    units, w, b, a, c, d, _, _, s, unit_size = block
    s += state
    if kind <= MINLSTM:
        affine(numbers, h, width, w, gates * unit_size, zeros, p, LINEAR)
        outputs = numbers[p : p + gates * unit_size]
        _rescale(outputs, r, numbers[b : b + gates * unit_size])
        h_s = numbers[s : s + unit_size]
        if kind == MINGRU:
            _min_gru(outputs, h_s)
        else:
            _min_lstm(outputs, h_s)
        return s
    u_h, y_h = numbers[u : u + size], numbers[y : y + size]
    if kind == S4D:
        gain, skip, x = numbers[b : b + size], numbers[d : d + size], numbers[h : h + size]
        for i in range(size):
            u_h[i] = r * gain[i] * x[i]
        for i in range(size):
            y_h[i] = skip[i] * u_h[i]
        lanes = 32 // numbers.itemsize
        for channel in range(0, size, lanes):
            to = s + 2 * units * channel
            _s4d(numbers, a + 4 * units * channel, to, units, u + channel, y + channel)
    else:
        affine(numbers, h, width, w, 2 * unit_size, zeros, p, LINEAR)
        parts = numbers[p : p + 2 * unit_size]
        _rescale(parts, r, numbers[zeros : zeros + 2 * unit_size])
        _rotate(numbers[a : a + 2 * unit_size], parts, numbers[s : s + 2 * unit_size])
        skip, x = numbers[d : d + size], numbers[h : h + size]
        for i in range(size):
            u_h[i] = r * skip[i] * x[i]
        affine(numbers, s, 2 * unit_size, c, size, u, y, LINEAR)
    _gelu(y_h)
    return y


@njit(**FAST)
def stack_run(numbers, table, x_address, c_address, y_address, num_steps):
    """All blocks and the head, one stream after the other. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    kind, num_blocks, w_in, b_in, inputs, at_eps, w_head, b_head, y_size = table[REST : REST + 9]
    sizes = table[REST + 9 : REST + NUM_SIZES]
    _, width, size, h, _, p, _, zeros = sizes
    eps = numbers[at_eps]
    first = REST + NUM_SIZES
    blocks = table[first : first + NUM_OF_BLOCK * num_blocks].reshape(num_blocks, NUM_OF_BLOCK)
    h_h = numbers[h : h + size]
    for stream in range(table[BATCH]):
        state, clock = table[STATE] + stream * table[STATE_SIZE], table[CLOCKS] + stream
        for n in range(stream * num_steps, (stream + 1) * num_steps):
            read_step(numbers, table, x_address, c_address, n, stream)
            affine(numbers, table[INPUT], inputs, w_in, size, b_in, h, LINEAR)
            for layer in range(num_blocks):
                block = blocks[layer]
                r = _inverse_rms(h_h, width, eps)
                y = _mix(numbers, kind, sizes, block, r, state)
                w_out, b_out = block[6], block[7]
                if kind <= MINLSTM:
                    _add(numbers[b_out : b_out + size], h_h)
                    affine(numbers, y, block[0], w_out, size, h, h, LINEAR)
                else:
                    affine(numbers, y, width, w_out, 2 * size, b_out, p, LINEAR)
                    _add_gated(numbers[p : p + 2 * size], h_h)
            r = _inverse_rms(h_h, width, eps)
            affine(numbers, h, width, w_head, y_size, zeros, p, LINEAR)
            _rescale(numbers[p : p + y_size], r, numbers[b_head : b_head + y_size])
            write_step(numbers, table, p, y_address, n)
            table[clock] += 1
    return True
