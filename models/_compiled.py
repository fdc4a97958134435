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
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils

from models._tanh import tanh

_intrinsic: Any = extending.intrinsic  # its type hides that the compiler adds the first argument
BATCH, TOKENS, NUM_X, NUM_C, HELD, NUM_Y, CLOCKS, STATE, STATE_SIZE, INPUT, SCRATCH, REST = range(
    12
)
"""Places in `table`: sizes and positions that all networks have; the network's own follow."""
_VECTORS = 4
"""Vectors of outputs whose sums are computed together. A vector has 32 bytes."""
PANEL_BYTES = 32 * _VECTORS
FAST: Any = {
    # Sums may be reordered and fused with products. NaN and Inf keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LINEAR, _RECTIFIED = -math.inf, 0.0
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


@_intrinsic(prefer_literal=True)
def _panel(typing, num_vectors, numbers, x, num_inputs, w, start, out, least):
    """out = max(start + W x, least) for a constant number of vectors of outputs.

    W is stored by columns. Several columns are summed at a time, in sums of their own, since a sum
    must wait for the one before.
    """
    width = num_vectors.literal_value
    i64 = types.int64
    signature = types.void(num_vectors, numbers, i64, i64, i64, i64, i64, numbers.dtype)

    def generate(context, builder, signature, arguments):
        _, array, x, num_inputs, w, start, out, least = arguments
        data = context.make_array(signature.args[1])(context, builder, array).data
        lanes = 32 // context.get_abi_sizeof(data.type.pointee)
        vector = ir.VectorType(data.type.pointee, lanes)

        def place(at, vectors=0):
            at = builder.gep(data, [builder.add(at, _I64(vectors * lanes))])
            return builder.bitcast(at, vector.as_pointer())

        def load(at, vectors=0):
            return builder.load(place(at, vectors), align=4)

        def repeated(number):
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _I32(0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return builder.shuffle_vector(one, one, mask)

        def add_column(j, sums):
            x_j = repeated(builder.load(builder.gep(data, [builder.add(x, j)])))
            column = builder.add(w, builder.mul(j, _I64(width * lanes)))
            for n, total in enumerate(sums):
                product = builder.fmul(load(column, n), x_j, flags=("contract",))
                value = builder.fadd(builder.load(total), product, flags=("contract",))
                builder.store(value, total)

        together = 8 // width
        sums = [
            [cgutils.alloca_once(builder, vector) for _ in range(width)] for _ in range(together)
        ]
        for group, parts in enumerate(sums):
            for n, total in enumerate(parts):
                first = load(start, n) if group == 0 else ir.Constant(vector, [0.0] * lanes)
                builder.store(first, total)
        rounds = builder.sdiv(num_inputs, _I64(together))
        with cgutils.for_range(builder, rounds) as loop:
            for group, parts in enumerate(sums):
                j = builder.add(builder.mul(loop.index, _I64(together)), _I64(group))
                add_column(j, parts)
        done = builder.mul(rounds, _I64(together))
        with cgutils.for_range(builder, builder.sub(num_inputs, done)) as loop:
            add_column(builder.add(done, loop.index), sums[0])
        floor = repeated(least)
        for n in range(width):
            parts = [builder.load(group[n]) for group in sums]
            while len(parts) > 1:
                parts = [
                    builder.fadd(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i]
                    for i in range(0, len(parts), 2)
                ]
            low = builder.fcmp_ordered("<", parts[0], floor)  # false for NaN, which is kept
            builder.store(builder.select(low, floor, parts[0]), place(out, n), align=4)
        return context.get_dummy_value()

    return signature, generate


@njit(**FAST)
def _affine(numbers, x, num_inputs, w, size, start, out, least):
    """out = max(start + W x, least). W has panels of four vectors; the last may be narrower."""
    lanes = 32 // numbers.itemsize
    while size >= 4 * lanes:
        _panel(4, numbers, x, num_inputs, w, start, out, least)
        w += 4 * lanes * num_inputs
        start += 4 * lanes
        out += 4 * lanes
        size -= 4 * lanes
    if size == 3 * lanes:
        _panel(3, numbers, x, num_inputs, w, start, out, least)
    elif size == 2 * lanes:
        _panel(2, numbers, x, num_inputs, w, start, out, least)
    elif size == lanes:
        _panel(1, numbers, x, num_inputs, w, start, out, least)


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
        _affine(numbers, window, k * num_inputs, w, 2 * size, b, out, _LINEAR)
        gate(numbers[out:], size)
    else:
        _affine(numbers, window, k * num_inputs, w, size, b, out, _RECTIFIED)


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
                    _affine(numbers, x, inputs, ws + size, size, ws, a, _LINEAR)
                    _join(numbers, a, z, h, size)
                x = h
            _affine(numbers, h, features, w_head, y_size, b_head, y, _LINEAR)
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
                _affine(numbers, x, inputs, w_x, gates * size, b_x, u, _LINEAR)
                x = state + h_at
                if gates == 3:
                    _affine(numbers, x, width, w_h, gates * size, b_h, v, _LINEAR)
                    _gru(numbers[u : u + 3 * size], numbers[v : v + 3 * size], h)
                    continue
                least = _RECTIFIED if relu else _LINEAR
                _affine(numbers, x, width, w_h, gates * size, u, v, least)
                sums = numbers[v : v + gates * size]
                if gates == 4:
                    _lstm(sums, h, numbers[state + c_at : state + c_at + size])
                elif relu:
                    h[:] = sums
                else:
                    for i in range(size):
                        h[i] = tanh(sums[i])
            _affine(numbers, x, width, w_head, y_size, b_head, y, _LINEAR)
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
