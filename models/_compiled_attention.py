"""Steps of the attention network, as functions compiled by Numba. See `_compiled`.

The keys and values of a head have one row for each feature and one column for each step of the
cache, so that loops over the steps are contiguous.
"""

import math

from numba import njit

from models._compiled import (
    _LINEAR,
    BATCH,
    CLOCKS,
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
from models._exp import exp
from models._tanh import tanh

CAPACITY, SCORES, OWN = REST, REST + 1, REST + 2
"""Places in `table` of what changes when the cache grows; the other positions follow."""


@njit(**FAST)
def _norm(numbers, x, size, gain, bias, out):
    """out = layer normalisation of x."""
    number = numbers.dtype.type
    a, y = numbers[x : x + size], numbers[out : out + size]
    g, b = numbers[gain : gain + size], numbers[bias : bias + size]
    mean, variance = number(0), number(0)
    for i in range(size):
        mean += a[i]
    mean /= number(size)
    for i in range(size):
        variance += (a[i] - mean) * (a[i] - mean)
    scale = number(1) / math.sqrt(variance / number(size) + number(1e-5))
    for i in range(size):
        y[i] = (a[i] - mean) * scale * g[i] + b[i]


@njit(**FAST)
def _angles(numbers, t, base, num_pairs, turn):
    """The cosines and then the sines of the angles of step t."""
    for pair in range(num_pairs):
        angle = t * math.exp(-math.log(base) * pair / num_pairs)
        numbers[turn + pair] = math.cos(angle)
        numbers[turn + num_pairs + pair] = math.sin(angle)


@njit(**FAST)
def _rotate(numbers, x, num_heads, size, num_pairs, turn):
    """Turn each pair of features of every head in place."""
    cosine = numbers[turn : turn + num_pairs]
    sine = numbers[turn + num_pairs : turn + 2 * num_pairs]
    for head in range(num_heads):
        start = x + head * size
        a = numbers[start : start + num_pairs]
        b = numbers[start + num_pairs : start + 2 * num_pairs]
        for pair in range(num_pairs):
            first, second = a[pair], b[pair]
            a[pair] = first * cosine[pair] - second * sine[pair]
            b[pair] = second * cosine[pair] + first * sine[pair]


@njit(**FAST)
def _attend(numbers, q, keys, values, num_seen, capacity, size, scores, out):
    """The mean of a head's values so far, weighted by the softmax of q·k / √D."""
    number = numbers.dtype.type
    s, scale = numbers[scores : scores + num_seen], number(1) / math.sqrt(number(size))
    s[:] = 0
    for i in range(size):
        row, q_i = numbers[keys + i * capacity :], scale * numbers[q + i]
        for step in range(num_seen):
            s[step] += q_i * row[step]
    largest, total = s[0], number(0)
    for step in range(num_seen):
        largest = s[step] if s[step] > largest else largest
    for step in range(num_seen):
        s[step] = exp(s[step] - largest)
        total += s[step]
    for i in range(size):
        row, mean = numbers[values + i * capacity :], number(0)
        for step in range(num_seen):
            mean += s[step] * row[step]
        numbers[out + i] = mean / total


@njit(**FAST)
def _gelu(x):
    """The approximation of PyTorch by a tanh."""
    number = x.dtype.type
    half, a, b = number(0.5), number(0.7978845608028654), number(0.044715)
    for i in range(len(x)):
        x[i] = half * x[i] * (number(1) + tanh(a * (x[i] + b * x[i] * x[i] * x[i])))


@njit(**FAST)
def _add(numbers, x, out, size):
    """out += x."""
    a, b = numbers[x : x + size], numbers[out : out + size]
    for i in range(size):
        b[i] += a[i]


@njit(**FAST)
def _mix(numbers, t, capacity, scores, cache, u, inner, inner_size, num_heads, out):
    """Store the step's keys and values, and average those of all steps so far in every head."""
    for i in range(inner):
        numbers[cache + i * capacity + t] = numbers[u + inner_size + i]
        numbers[cache + (inner + i) * capacity + t] = numbers[u + 2 * inner_size + i]
    size = inner // num_heads
    for head in range(num_heads):
        first = head * size
        keys, values = cache + first * capacity, cache + (inner + first) * capacity
        _attend(numbers, u + first, keys, values, t + 1, capacity, size, scores, out + first)


@njit(**FAST)
def attention_run(numbers, table, x_address, c_address, y_address, num_steps):
    """All layers and the head, one stream after the other. False if an id is not a token."""
    if not known(table, x_address, num_steps):
        return False
    capacity, scores = table[CAPACITY], table[SCORES]
    base, num_layers, num_heads, inner, inner_size, width, size = table[OWN : OWN + 7]
    w_input, b_input, gain, bias, w_head, b_head, y, y_size = table[OWN + 7 : OWN + 15]
    h, a, u, v, turn = table[OWN + 15 : OWN + 20]
    layers = table[OWN + 20 : OWN + 20 + 14 * num_layers].reshape(num_layers, 14)
    num_inputs, num_pairs = table[NUM_X] + table[NUM_C], inner // num_heads // 2
    for stream in range(table[BATCH]):
        state = table[STATE] + stream * table[STATE_SIZE]
        clock = table[CLOCKS] + stream
        for n in range(stream * num_steps, (stream + 1) * num_steps):
            read_step(numbers, table, x_address, c_address, n, stream)
            t = table[clock]
            _angles(numbers, t, base, num_pairs, turn)
            _affine(numbers, table[INPUT], num_inputs, w_input, size, b_input, h, _LINEAR)
            for layer in range(num_layers):
                g1, b1, w_qkv, b_qkv, w_out, b_out, g2, b2 = layers[layer, :8]
                hidden, hidden_size, w_up, b_up, w_down, b_down = layers[layer, 8:]
                _norm(numbers, h, width, g1, b1, a)
                _affine(numbers, a, width, w_qkv, 3 * inner_size, b_qkv, u, _LINEAR)
                _rotate(numbers, u, num_heads, inner // num_heads, num_pairs, turn)
                _rotate(numbers, u + inner_size, num_heads, inner // num_heads, num_pairs, turn)
                cache = state + 2 * layer * inner * capacity
                _mix(numbers, t, capacity, scores, cache, u, inner, inner_size, num_heads, a)
                _affine(numbers, a, inner, w_out, size, b_out, v, _LINEAR)
                _add(numbers, v, h, width)
                _norm(numbers, h, width, g2, b2, a)
                _affine(numbers, a, width, w_up, hidden_size, b_up, u, _LINEAR)
                _gelu(numbers[u : u + hidden_size])
                _affine(numbers, u, hidden, w_down, size, b_down, v, _LINEAR)
                _add(numbers, v, h, width)
            _norm(numbers, h, width, gain, bias, a)
            _affine(numbers, a, width, w_head, y_size, b_head, y, _LINEAR)
            write_step(numbers, table, y, y_address, n)
            table[clock] = t + 1
    return True
