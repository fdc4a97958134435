"""Steps of whole networks on the CPU, compiled by Numba.

All compiled functions are in one file, since a change of any must make the others' code stale;
the kernels of wavenet and pixelcnn that call them are in `_kernels_generation`.

TCN and WaveNet: each convolution keeps its inputs in a ring a phase. Steps that share t mod d
follow each other, and each is written twice, k places apart, so that the last k are always
contiguous: a convolution is then one small matrix times one contiguous window, nothing copied.

Shape letters: B streams, C channels, K taps, P phases, L layers, H hidden units.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from models._stepper import Kernel

if TYPE_CHECKING:
    from models._recurrent import RecurrentCore
    from models.tcn import TcnCore

# Sums may be reordered, which is what lets them be vectorised; NaN and Inf keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp"}


class Row:
    """Weights and biases of several layers, one after the other."""

    def __init__(self) -> None:
        self._weights: list[np.ndarray] = []
        self._biases: list[np.ndarray] = []

    def place(self, weight: Tensor, bias: Tensor) -> tuple[int, int]:
        """Append a layer; returns where its weights and its biases begin."""
        at = sum(map(len, self._weights)), sum(map(len, self._biases))
        self._weights.append(weight.detach().numpy().reshape(-1))
        self._biases.append(bias.detach().numpy().reshape(-1))
        return at

    def place_columns(self, weight: Tensor, bias: Tensor | None = None) -> tuple[int, int]:
        """The same, (O, I, …) as (…, I, O), for `_add_columns`."""
        columns = weight.movedim(1, -1).flatten(1).T.contiguous()
        return self.place(columns, weight.new_zeros(0) if bias is None else bias)

    def weights(self) -> np.ndarray:
        return np.concatenate(self._weights)

    def biases(self) -> np.ndarray:
        return np.concatenate(self._biases)


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
    """out += W x, a column for each input that is not zero: of a one-hot, one."""
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
    """The first n become tanh(a) ⊙ σ(b) of these and the n after them."""
    for i in range(n):
        x[i] = math.tanh(x[i]) * _sigmoid(x[n + i])


@njit(fastmath=FAST, nogil=True, cache=True)
def _remember(t, k, shift, num_inputs, ring, x):
    """Put x into a ring at step t; what begins with the last k inputs, 2^shift steps apart."""
    phase = t & ((1 << shift) - 1)
    slot = (t >> shift) % k
    ring_k = ring[phase * 2 * k * num_inputs : (phase + 1) * 2 * k * num_inputs]
    for i in range(num_inputs):
        ring_k[slot * num_inputs + i] = x[i]
        ring_k[(slot + k) * num_inputs + i] = x[i]
    return ring_k[(slot + 1) * num_inputs :]


@njit(fastmath=FAST, nogil=True, cache=True)
def _conv(t, k, shift, num_inputs, num_outputs, gated, ring, weights, w, biases, b, x, out):
    """A causal convolution of dilation 2^shift at step t, and a ReLU or a gated unit."""
    window = _remember(t, k, shift, num_inputs, ring, x)
    if gated:
        _linear(window, k * num_inputs, weights, w, biases, b, out, 2 * num_outputs)
        _gate(out, num_outputs)
    else:
        _linear(window, k * num_inputs, weights, w, biases, b, out, num_outputs)
        _rectify(out, num_outputs)


@njit(fastmath=FAST, nogil=True, cache=True)
def _tcn_step(t, k, gated, residual, x_BI, y_BO, rings_BS, blocks, weights, biases, head, h, a, z):
    """Every block, then the head, a stream after the other."""
    for stream in range(x_BI.shape[0]):
        for i in range(x_BI.shape[1]):
            h[i] = x_BI[stream, i]
        for n in range(blocks.shape[0]):
            inputs, inner, width, r1, r2, w1, b1, w2, b2, ws, bs, _ = blocks[n]
            ring1, ring2 = rings_BS[stream, r1:r2], rings_BS[stream, r2:]
            _conv(t, k, n, inputs, inner, gated, ring1, weights, w1, biases, b1, h, a)
            _conv(t, k, n, inner, width, gated, ring2, weights, w2, biases, b2, a, z)
            if not residual:
                for o in range(width):
                    h[o] = z[o]
                continue
            if ws >= 0:  # the width changes: a 1×1 convolution
                _linear(h, inputs, weights, ws, biases, bs, a, width)
                for o in range(width):
                    h[o] = a[o]
            for o in range(width):
                h[o] += z[o]
            _rectify(h, width)
        _linear(h, head[0], weights, head[1], biases, head[2], y_BO[stream], y_BO.shape[1])


@njit(fastmath=FAST, nogil=True, cache=True)
def wavenet_step(t, k, num_x, x_BI, y_BO, rings_BS, ends, layers, weights, biases, h, skips, u, v):
    """The input's convolution, every layer, then 1×1 and head, a stream after the other."""
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
    """The vertical stack of row r, and what it says to each pixel of the horizontal stack."""
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
def pixelcnn_step(t, k, row, num_x, x_BI, y_BO, cache_BS, ends, layers, weights, biases, h, u, v):
    """At a row's first pixel the vertical stack of all the row; then the horizontal stack.

    For each layer the cache has the last m + 1 rows of what the vertical stack reads, with m zeros
    on either side; what it says to the row; and m zeros before the row that the horizontal stack
    reads. The image itself is read by both.
    """
    w_output, b_output, w_head, b_head, width = ends
    m, across = k // 2, row + k // 2 * 2
    r, column = t // row, t % row
    for stream in range(x_BI.shape[0]):
        x, c, cache = x_BI[stream], x_BI[stream, num_x:], cache_BS[stream]
        if t > 0:  # x is the pixel before this one
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


@njit(nogil=True, cache=True)
def draw(logits_BK, temperature, uniform_B, ids_B):
    """Ids from the softmax of logits / temperature: the inverse of its cumulative distribution."""
    for b in range(logits_BK.shape[0]):
        logits = logits_BK[b]
        largest = np.float64(logits.max())  # and so are the differences
        total = 0.0
        for k in range(len(logits)):
            total += math.exp((logits[k] - largest) / temperature)
        rest = uniform_B[b] * total
        ids_B[b] = len(logits) - 1  # rounding may leave something
        for k in range(len(logits)):
            rest -= math.exp((logits[k] - largest) / temperature)
            if rest < 0:
                ids_B[b] = k
                break


class TcnKernel(Kernel):
    """Weights laid out in a row, and the rings."""

    def __init__(self, core: "TcnCore", head: nn.Linear, batch_size: int) -> None:
        self._k, self._gated, self._residual = core.kernel_size, core.gated, core.residual
        row = Row()
        rows: list[list[int]] = []
        ring = widest = 0
        blocks: Any = core.blocks  # nn.ModuleList does not tell what it holds
        for n, block in enumerate(blocks):
            conv1, conv2 = block.conv1.conv, block.conv2.conv
            inputs, inner, width = conv1.in_channels, conv2.in_channels, block.width
            ring2 = ring + 2 * self._k * inputs * 2**n
            # (O, I, K) → (O, K, I): the window has its steps oldest first, channels innermost.
            at1 = row.place(conv1.weight.transpose(1, 2).contiguous(), conv1.bias)
            at2 = row.place(conv2.weight.transpose(1, 2).contiguous(), conv2.bias)
            skip = block.skip
            at_skip = row.place(skip.weight, skip.bias) if isinstance(skip, nn.Linear) else (-1, -1)
            rows.append([inputs, inner, width, ring, ring2, *at1, *at2, *at_skip, 0])
            ring = ring2 + 2 * self._k * inner * 2**n
            widest = max(widest, inputs, conv1.out_channels, conv2.out_channels)
        at_head = row.place(head.weight, head.bias)
        self._blocks = np.array(rows)
        self._head = np.array([head.in_features, *at_head])
        self._weights, self._biases = row.weights(), row.biases()
        dtype = self._weights.dtype
        self._rings_BS = np.zeros((batch_size, ring), dtype)
        self._scratch = [np.zeros(widest, dtype) for _ in range(3)]
        self._t = 0
        self.state_bytes = self._rings_BS[0].nbytes

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        _tcn_step(
            self._t,
            self._k,
            self._gated,
            self._residual,
            x_BI,
            y_BO,
            self._rings_BS,
            self._blocks,
            self._weights,
            self._biases,
            self._head,
            *self._scratch,
        )
        self._t += 1

    def reset(self) -> None:
        self._rings_BS[:] = 0
        self._t = 0

    def load(self, state: Any) -> None:
        self._t = self._k << len(self._blocks)  # later than any memory reaches back
        for n, pasts in enumerate(state):
            for past_BSC, ring_BPKC in zip(pasts, self._rings_of(n), strict=True):
                fill_ring(ring_BPKC, self._t, past_BSC)

    def state(self) -> Any:
        return tuple(
            tuple(read_ring(ring_BPKC, self._t) for ring_BPKC in self._rings_of(n))
            for n in range(len(self._blocks))
        )

    def _rings_of(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        inputs, inner, _, start, middle = self._blocks[n][:5]
        return (
            ring_of(self._rings_BS, start, n, self._k, inputs),
            ring_of(self._rings_BS, middle, n, self._k, inner),
        )


def ring_of(rings_BS: np.ndarray, start: int, shift: int, k: int, channels: int) -> np.ndarray:
    """A view (B, 2^shift phases, 2·K slots, C) of one ring."""
    part_BS = rings_BS[:, start : start + 2 * k * channels * 2**shift]
    return part_BS.reshape(len(part_BS), 2**shift, 2 * k, channels)


def fill_ring(ring_BPKC: np.ndarray, t: int, past_BSC: Tensor) -> None:
    """The inputs before step t."""
    num_phases, k = ring_BPKC.shape[1], ring_BPKC.shape[2] // 2
    times = np.arange(t - past_BSC.shape[1], t)
    phases, slots = times % num_phases, times // num_phases % k
    for copy in (0, k):
        ring_BPKC[:, phases, slots + copy] = past_BSC.detach().numpy()


def read_ring(ring_BPKC: np.ndarray, t: int) -> Tensor:
    """The inputs before step t, as many as a convolution remembers; zeros before the first."""
    num_phases, k = ring_BPKC.shape[1], ring_BPKC.shape[2] // 2
    times = np.arange(t - (k - 1) * num_phases, t)
    return torch.from_numpy(ring_BPKC[:, times % num_phases, times // num_phases % k])


@njit(fastmath=FAST, nogil=True, cache=True)
def _lstm(width, u, v, h, c):
    """Gates i, f, g, o in this order (PyTorch's)."""
    for i in range(width):
        keep = _sigmoid(u[width + i] + v[width + i])
        new = math.tanh(u[2 * width + i] + v[2 * width + i])
        c[i] = keep * c[i] + _sigmoid(u[i] + v[i]) * new
        h[i] = _sigmoid(u[3 * width + i] + v[3 * width + i]) * math.tanh(c[i])


@njit(fastmath=FAST, nogil=True, cache=True)
def _gru(width, u, v, h):
    """Gates r, z, n in this order; r acts after the recurrent product."""
    for i in range(width):
        r = _sigmoid(u[i] + v[i])
        z = _sigmoid(u[width + i] + v[width + i])
        n = math.tanh(u[2 * width + i] + r * v[2 * width + i])
        h[i] = (1 - z) * n + z * h[i]


@njit(fastmath=FAST, nogil=True, cache=True)
def _recurrent_step(gates, relu, x_BI, y_BO, h_BLH, c_BLH, layers, weights, biases, head, x, u, v):
    """Every layer, then the head, a stream after the other."""
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


class RecurrentKernel(Kernel):
    """Weights laid out in a row, and each layer's state."""

    def __init__(self, core: "RecurrentCore", head: nn.Linear, batch_size: int) -> None:
        row, rows = Row(), []
        layers: Any = core.layers
        for layer in layers:
            self._gates = len(layer.bias_ih_l0) // layer.hidden_size
            self._relu = layer.mode == "RNN_RELU"
            at_input = row.place(layer.weight_ih_l0, layer.bias_ih_l0)
            at_hidden = row.place(layer.weight_hh_l0, layer.bias_hh_l0)
            rows.append([layer.input_size, layer.hidden_size, *at_input, *at_hidden])
        self._head = np.array(row.place(head.weight, head.bias))
        self._layers = np.array(rows)
        self._weights, self._biases = row.weights(), row.biases()
        dtype, widest = self._weights.dtype, int(self._layers[:, :2].max())
        shape = (batch_size, len(rows), widest)
        self._h_BLH, self._c_BLH = np.zeros(shape, dtype), np.zeros(shape, dtype)
        self._scratch = [np.zeros(size * widest, dtype) for size in (1, self._gates, self._gates)]
        self._has_cell = self._gates == 4
        numbers = int(self._layers[:, 1].sum()) * (2 if self._has_cell else 1)
        self.state_bytes = numbers * dtype.itemsize

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        _recurrent_step(
            self._gates,
            self._relu,
            x_BI,
            y_BO,
            self._h_BLH,
            self._c_BLH,
            self._layers,
            self._weights,
            self._biases,
            self._head,
            *self._scratch,
        )

    def reset(self) -> None:
        self._h_BLH[:] = 0
        self._c_BLH[:] = 0

    def load(self, state: Any) -> None:
        for n, layer_state in enumerate(state):
            parts = layer_state if self._has_cell else (layer_state,)
            for part_1BH, all_BLH in zip(parts, (self._h_BLH, self._c_BLH), strict=False):
                all_BLH[:, n, : part_1BH.shape[2]] = part_1BH[0].detach().numpy()

    def state(self) -> Any:
        states = []
        for n, width in enumerate(self._layers[:, 1]):
            h, c = (
                torch.from_numpy(part[None, :, n, :width].copy())
                for part in (self._h_BLH, self._c_BLH)
            )
            states.append((h, c) if self._has_cell else h)
        return tuple(states)
