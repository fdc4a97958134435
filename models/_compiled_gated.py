"""Steps of WaveNet and PixelCNN, as functions compiled by Numba. See `_compiled`.

Shape letters: O outputs.
"""

from numba import njit

from models._compiled import (
    BATCH,
    CLOCKS,
    FAST,
    NUM_X,
    NUM_Y,
    REST,
    SCRATCH,
    STATE,
    STATE_SIZE,
    gate,
    known,
    read_step,
    write_step,
)


@njit(**FAST)
def _rectify(x, n):
    for i in range(n):
        if x[i] < 0:
            x[i] = 0


@njit(**FAST)
def _linear(x, num_inputs, weights, w, biases, b, out, num_outputs):
    """out = W x + bias."""
    window = x[:num_inputs]
    matrix = weights[w : w + num_outputs * num_inputs].reshape(num_outputs, num_inputs)
    for o in range(num_outputs):
        total = biases[b + o]
        for j in range(num_inputs):
            total += matrix[o, j] * window[j]
        out[o] = total


@njit(**FAST)
def _add_columns(x, num_inputs, weights, w, out, num_outputs):
    """out += W x, one column per nonzero input. A one-hot vector needs a single column."""
    matrix = weights[w : w + num_inputs * num_outputs].reshape(num_inputs, num_outputs)
    for j in range(num_inputs):
        if x[j] != 0:
            for o in range(num_outputs):
                out[o] += x[j] * matrix[j, o]


@njit(**FAST)
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


@njit(**FAST)
def _parts(numbers, places):
    """Weights, biases and four parts of the scratch, from their seven boundaries."""
    a, b, c, d, e, f, g = places
    return numbers[a:b], numbers[b:c], numbers[c:d], numbers[d:e], numbers[e:f], numbers[f:g]


@njit(**FAST)
def wavenet_run(numbers, table, x_address, c_address, y_address, num_steps):
    """Input convolution, all layers, 1×1 and head. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    k, num_layers = table[REST], table[REST + 1]
    weights, biases, h, skips, u, v = _parts(numbers, table[REST + 2 : REST + 9])
    w_input, b_input, w_output, b_output, w_head, b_head, width = table[REST + 9 : REST + 16]
    layers = table[REST + 16 : REST + 16 + 8 * num_layers].reshape(num_layers, 8)
    num_x, y = table[NUM_X], numbers[table[SCRATCH] :]
    for stream in range(table[BATCH]):
        at = table[STATE] + stream * table[STATE_SIZE]
        rings, clock = numbers[at : at + table[STATE_SIZE]], table[CLOCKS] + stream
        for place in range(stream * num_steps, (stream + 1) * num_steps):
            x = read_step(numbers, table, x_address, c_address, place, stream)
            t, c = table[clock], x[num_x:]
            window = _remember(t, k, 0, num_x, rings, x)
            h[:width] = biases[b_input : b_input + width]
            _add_columns(window, k * num_x, weights, w_input, h, width)
            skips[:] = 0
            for n in range(num_layers):
                shift, ring, gated, w_conv, b_conv, w_condition, w_out, b_out = layers[n]
                window = _remember(t, k, shift, width, rings[ring:], h)
                _linear(window, k * width, weights, w_conv, biases, b_conv, u, 2 * gated)
                _add_columns(c, len(c), weights, w_condition, u, 2 * gated)
                gate(u, gated)
                is_last = n == num_layers - 1
                _linear(u, gated, weights, w_out, biases, b_out, v, width if is_last else 2 * width)
                for i in range(width):
                    skips[i] += v[i]
                    if not is_last:
                        h[i] += v[width + i]
            _rectify(skips, width)
            _linear(skips, width, weights, w_output, biases, b_output, h, width)
            _rectify(h, width)
            _linear(h, width, weights, w_head, biases, b_head, y, table[NUM_Y])
            write_step(numbers, table, table[SCRATCH], y_address, place)
            table[clock] = t + 1
    return True


@njit(**FAST)
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
                gate(u, width)
                at = v_out + (r % (m + 1) * across + m + j) * width
                cache[at : at + width] = u[:width]


@njit(**FAST)
def _pixelcnn_pixel(t, k, row, x, c, y, cache, ends, layers, weights, biases, h, u, v):
    """The horizontal stack at one pixel; before a row's first pixel, the row's vertical stack.

    For each layer the cache holds three parts: the last m + 1 rows of the vertical stack's input,
    with m zeros on either side; the vertical stack's contributions to the current row; and the
    horizontal stack's input of the current row, after m zeros. In the first layer both stacks read
    the image.
    """
    w_output, b_output, w_head, b_head, width = ends
    m, across, num_x = k // 2, row + k // 2 * 2, len(x)
    r, column = t // row, t % row
    if t > 0:  # x is the pixel before this one; at t = 0 it is the start token
        at = ((t - 1) // row % (m + 1) * across + m + (t - 1) % row) * num_x
        cache[at : at + num_x] = x
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
        gate(u, gated)
        _linear(u, gated, weights, w_r, biases, b_r, v, width)
        for i in range(width):
            h[i] += v[i]
    _rectify(h, width)
    _linear(h, width, weights, w_output, biases, b_output, v, width)
    _rectify(v, width)
    _linear(v, width, weights, w_head, biases, b_head, y, len(y))


@njit(**FAST)
def pixelcnn_run(numbers, table, x_address, c_address, y_address, num_steps):
    """One stream after the other. The last inputs are kept too. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    k, row, num_layers, past, num_kept = table[REST : REST + 5]
    weights, biases, y, h, u, v = _parts(numbers, table[REST + 5 : REST + 12])
    ends = table[REST + 12 : REST + 17]
    layers = table[REST + 17 : REST + 17 + 16 * num_layers].reshape(num_layers, 16)
    for stream in range(table[BATCH]):
        at, clock = table[STATE] + stream * table[STATE_SIZE], table[CLOCKS] + stream
        cache = numbers[at : at + table[STATE_SIZE]]
        for n in range(stream * num_steps, (stream + 1) * num_steps):
            inputs, t = read_step(numbers, table, x_address, c_address, n, stream), table[clock]
            slot = past + t % num_kept * len(inputs)
            cache[slot : slot + len(inputs)] = inputs
            x, c = inputs[: table[NUM_X]], inputs[table[NUM_X] :]
            out = y[: table[NUM_Y]]
            _pixelcnn_pixel(t, k, row, x, c, out, cache, ends, layers, weights, biases, h, u, v)
            write_step(numbers, table, table[REST + 7], y_address, n)
            table[clock] = t + 1
    return True
