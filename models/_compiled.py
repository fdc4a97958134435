"""Steps of whole networks on the CPU, as functions compiled by Numba.

All compiled functions are in this file: Numba caches by file, so a change of one must invalidate
the cached code of the others that call it. The classes in `_kernels` and `_kernels_pixelcnn` lay
out the weights and hold the states.

TCN and WaveNet keep the inputs of each convolution in ring buffers, one per phase t mod d of its
dilation d. Each input is written twice, k places apart, so that the last k inputs of a phase are
always contiguous: a convolution is then one small matrix times one contiguous window, without
copying.

Shape letters: B streams, I inputs, O outputs, S stored numbers, L layers, H hidden units, K tokens.
"""

import math

import numpy as np
from numba import njit

# Sums may be reordered, so that they can be vectorised. NaN and Inf keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(fastmath=FAST, nogil=True, cache=True)
def _linear(x, num_inputs, weights, w, biases, b, out, num_outputs):
    """out = W x + bias."""
    window = x[:num_inputs]
    matrix = weights[w : w + num_outputs * num_inputs].reshape(num_outputs, num_inputs)
    for o in range(num_outputs):
        total = biases[b + o]
        for j in range(num_inputs):
            total += matrix[o, j] * window[j]
        out[o] = total


@njit(fastmath=FAST, nogil=True, cache=True)
def _add_columns(x, num_inputs, weights, w, out, num_outputs):
    """out += W x, one column per nonzero input. A one-hot vector needs a single column."""
    matrix = weights[w : w + num_inputs * num_outputs].reshape(num_inputs, num_outputs)
    for j in range(num_inputs):
        if x[j] != 0:
            for o in range(num_outputs):
                out[o] += x[j] * matrix[j, o]


@njit(fastmath=FAST, nogil=True, cache=True)
def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


@njit(fastmath=FAST, nogil=True, cache=True)
def _rectify(x, n):
    for i in range(n):
        if x[i] < 0:
            x[i] = 0


@njit(fastmath=FAST, nogil=True, cache=True)
def _gate(x, n):
    """Replace the first n numbers a by tanh(a) ⊙ σ(b), where b are the n after them."""
    for i in range(n):
        x[i] = math.tanh(x[i]) * _sigmoid(x[n + i])


@njit(fastmath=FAST, nogil=True, cache=True)
def _remember(t, k, shift, num_inputs, ring, x):
    """Store x in a ring at step t. The returned array begins with the last k inputs.

    These are 2^shift steps apart, the oldest first.
    """
    phase = t & ((1 << shift) - 1)
    slot = (t >> shift) % k
    ring_k = ring[phase * 2 * k * num_inputs : (phase + 1) * 2 * k * num_inputs]
    for i in range(num_inputs):
        ring_k[slot * num_inputs + i] = x[i]
        ring_k[(slot + k) * num_inputs + i] = x[i]
    return ring_k[(slot + 1) * num_inputs :]


@njit(fastmath=FAST, nogil=True, cache=True)
def _conv(t, k, shift, num_inputs, num_outputs, gated, ring, weights, w, biases, b, x, out):
    """A causal convolution of dilation 2^shift at step t, then a ReLU or a gated unit."""
    window = _remember(t, k, shift, num_inputs, ring, x)
    if gated:
        _linear(window, k * num_inputs, weights, w, biases, b, out, 2 * num_outputs)
        _gate(out, num_outputs)
    else:
        _linear(window, k * num_inputs, weights, w, biases, b, out, num_outputs)
        _rectify(out, num_outputs)


@njit(fastmath=FAST, nogil=True, cache=True)
def tcn_step(t, x_BI, y_BO, k, gated, residual, rings_BS, blocks, weights, biases, head, h, a, z):
    """All blocks and the head, one stream after the other."""
    for stream in range(x_BI.shape[0]):
        for i in range(x_BI.shape[1]):
            h[i] = x_BI[stream, i]
        for n in range(blocks.shape[0]):
            inputs, inner, width, r1, r2, w1, b1, w2, b2, ws, bs = blocks[n]
            ring1, ring2 = rings_BS[stream, r1:r2], rings_BS[stream, r2:]
            _conv(t, k, n, inputs, inner, gated, ring1, weights, w1, biases, b1, h, a)
            _conv(t, k, n, inner, width, gated, ring2, weights, w2, biases, b2, a, z)
            if not residual:
                for o in range(width):
                    h[o] = z[o]
                continue
            if ws >= 0:  # where the width changes, the residual is a 1×1 convolution
                _linear(h, inputs, weights, ws, biases, bs, a, width)
                for o in range(width):
                    h[o] = a[o]
            for o in range(width):
                h[o] += z[o]
            _rectify(h, width)
        _linear(h, head[0], weights, head[1], biases, head[2], y_BO[stream], y_BO.shape[1])


@njit(fastmath=FAST, nogil=True, cache=True)
def wavenet_step(t, x_BI, y_BO, k, num_x, rings_BS, ends, layers, weights, biases, h, skips, u, v):
    """Input convolution, all layers, 1×1 and head, one stream after the other."""
    w_input, b_input, w_output, b_output, w_head, b_head, width = ends
    for stream in range(x_BI.shape[0]):
        rings, c = rings_BS[stream], x_BI[stream, num_x:]
        window = _remember(t, k, 0, num_x, rings, x_BI[stream])
        h[:width] = biases[b_input : b_input + width]
        _add_columns(window, k * num_x, weights, w_input, h, width)
        skips[:] = 0
        for n in range(layers.shape[0]):
            shift, ring, gated, w_conv, b_conv, w_condition, w_out, b_out = layers[n]
            window = _remember(t, k, shift, width, rings[ring:], h)
            _linear(window, k * width, weights, w_conv, biases, b_conv, u, 2 * gated)
            _add_columns(c, len(c), weights, w_condition, u, 2 * gated)
            _gate(u, gated)
            is_last = n == layers.shape[0] - 1
            _linear(u, gated, weights, w_out, biases, b_out, v, width if is_last else 2 * width)
            for i in range(width):
                skips[i] += v[i]
                if not is_last:
                    h[i] += v[width + i]
        _rectify(skips, width)
        _linear(skips, width, weights, w_output, biases, b_output, h, width)
        _rectify(h, width)
        _linear(h, width, weights, w_head, biases, b_head, y_BO[stream], y_BO.shape[1])


@njit(fastmath=FAST, nogil=True, cache=True)
def _pixelcnn_row(r, k, row, c, cache, layers, width, weights, biases, u):
    """The vertical stack of row r, and its contribution to the horizontal stack at each pixel."""
    m, across = k // 2, row + k // 2 * 2
    for n in range(layers.shape[0]):
        inputs, gated, taps, v_in, v_out, _, above, w, b, w_c, w_to, b_to, _, _, _, _ = layers[n]
        for j in range(row):
            u[: 2 * width] = biases[b : b + 2 * width]
            for i in range(taps):  # of row r − m + i
                at = v_in + ((r + 1 + i) % (m + 1) * across + j) * inputs
                w_i = w + i * k * inputs * 2 * width
                _add_columns(cache[at:], k * inputs, weights, w_i, u, 2 * width)
            at = above + j * 2 * gated
            _linear(u, 2 * width, weights, w_to, biases, b_to, cache[at:], 2 * gated)
            if n < layers.shape[0] - 1:
                _add_columns(c, len(c), weights, w_c, u, 2 * width)
                _gate(u, width)
                at = v_out + (r % (m + 1) * across + m + j) * width
                cache[at : at + width] = u[:width]


@njit(fastmath=FAST, nogil=True, cache=True)
def pixelcnn_step(t, x_BI, y_BO, k, row, num_x, cache_BS, ends, layers, weights, biases, h, u, v):
    """The horizontal stack at one pixel; before a row's first pixel, the row's vertical stack.

    For each layer the cache holds three parts: the last m + 1 rows of the vertical stack's input,
    with m zeros on either side; the vertical stack's contributions to the current row; and the
    horizontal stack's input of the current row, after m zeros. In the first layer both stacks read
    the image.
    """
    w_output, b_output, w_head, b_head, width = ends
    m, across = k // 2, row + k // 2 * 2
    r, column = t // row, t % row
    for stream in range(x_BI.shape[0]):
        x, c, cache = x_BI[stream], x_BI[stream, num_x:], cache_BS[stream]
        if t > 0:  # x is the pixel before this one; at t = 0 it is the start token
            at = ((t - 1) // row % (m + 1) * across + m + (t - 1) % row) * num_x
            cache[at : at + num_x] = x[:num_x]
        if column == 0:
            _pixelcnn_row(r, k, row, c, cache, layers, width, weights, biases, u)
        h[:width] = 0
        for n in range(layers.shape[0]):
            inputs, gated, taps, v_in, _, h_in, above, _, _, _, _, _, w, w_c, w_r, b_r = layers[n]
            at = above + column * 2 * gated
            u[: 2 * gated] = cache[at : at + 2 * gated]
            at = h_in + (m + column) * width
            if n > 0:
                cache[at : at + width] = h[:width]
                at -= m * width
            else:
                at = v_in + (r % (m + 1) * across + column) * inputs
            _add_columns(cache[at:], taps * inputs, weights, w, u, 2 * gated)
            _add_columns(c, len(c), weights, w_c, u, 2 * gated)
            _gate(u, gated)
            _linear(u, gated, weights, w_r, biases, b_r, v, width)
            for i in range(width):
                h[i] += v[i]
        _rectify(h, width)
        _linear(h, width, weights, w_output, biases, b_output, v, width)
        _rectify(v, width)
        _linear(v, width, weights, w_head, biases, b_head, y_BO[stream], y_BO.shape[1])


@njit(fastmath=FAST, nogil=True, cache=True)
def _lstm(width, u, v, h, c):
    """PyTorch's order of the gates: i, f, g, o."""
    for i in range(width):
        keep = _sigmoid(u[width + i] + v[width + i])
        new = math.tanh(u[2 * width + i] + v[2 * width + i])
        c[i] = keep * c[i] + _sigmoid(u[i] + v[i]) * new
        h[i] = _sigmoid(u[3 * width + i] + v[3 * width + i]) * math.tanh(c[i])


@njit(fastmath=FAST, nogil=True, cache=True)
def _gru(width, u, v, h):
    """PyTorch's order of the gates: r, z, n. The gate r acts after the recurrent product."""
    for i in range(width):
        r = _sigmoid(u[i] + v[i])
        z = _sigmoid(u[width + i] + v[width + i])
        n = math.tanh(u[2 * width + i] + r * v[2 * width + i])
        h[i] = (1 - z) * n + z * h[i]


@njit(fastmath=FAST, nogil=True, cache=True)
def recurrent_step(x_BI, y_BO, gates, relu, h_BLH, c_BLH, layers, weights, biases, head, x, u, v):
    """All layers and the head, one stream after the other."""
    for stream in range(x_BI.shape[0]):
        for i in range(x_BI.shape[1]):
            x[i] = x_BI[stream, i]
        width = 0
        for n in range(layers.shape[0]):
            inputs, width, w_input, b_input, w_hidden, b_hidden = layers[n]
            h, c = h_BLH[stream, n], c_BLH[stream, n]
            _linear(x, inputs, weights, w_input, biases, b_input, u, gates * width)
            _linear(h, width, weights, w_hidden, biases, b_hidden, v, gates * width)
            if gates == 4:
                _lstm(width, u, v, h, c)
            elif gates == 3:
                _gru(width, u, v, h)
            elif relu:
                for i in range(width):
                    h[i] = u[i] + v[i]
                _rectify(h, width)
            else:
                for i in range(width):
                    h[i] = math.tanh(u[i] + v[i])
            for i in range(width):
                x[i] = h[i]
        _linear(x, width, weights, head[0], biases, head[1], y_BO[stream], y_BO.shape[1])


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
