"""Residual blocks of causal convolutions on the CPU, forward and backward, compiled by Numba.

Sixteen sequences at a time go through the whole network, so that their activations stay in the
cache. `_lanes` has the inner loops.

Shape letters: T steps, P outputs of a convolution, I inputs, O outputs, K taps, N parameters.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from models._lanes import (
    LANES,
    MOST_COLUMNS,
    MOST_POSITIONS,
    MOST_ROWS,
    OPTIONS,
    add_outer_rows,
    larger,
    num_rows,
    sum_rows,
)


class Conv(NamedTuple):
    """One convolution of a network: the sizes that the kernels need, as a row of integers.

    Output p stands at step `first + p · stride` of the input, and tap j reads `j · dilation` steps
    earlier. Offsets count numbers from the beginning of an array.
    """

    num_inputs: int
    num_outputs: int
    num_taps: int
    dilation: int
    first: int
    stride: int
    num_steps: int
    """Steps of the input."""
    num_positions: int
    """Steps of the output."""
    normed: int
    """Whether the weight is normalised: g v / ‖v‖ for each output channel."""
    weight_at: int
    """Offset of v, or of a plain weight, (O, I, K), among the parameters."""
    norm_at: int
    """Offset of g (O,)."""
    bias_at: int
    packed_at: int
    """Offset among the packed weights, which hold I · O · K numbers per convolution."""
    bias_lanes_at: int
    """Offset among biases and their gradients, which are repeated for each lane."""


class Block(NamedTuple):
    """One residual block: which convolutions, and where its activations are."""

    conv1: int
    conv2: int
    skip: int
    """The 1×1 convolution of the input; −1: the input itself; −2: there is no residual sum."""
    input_at: int
    inner_at: int
    """Offset of the outputs of the first convolution."""
    second_at: int
    """Offset of the outputs of the second convolution."""
    output_at: int


@njit(**OPTIONS)
def pack(convs, parameters, forward, backward, bias_lanes):
    """Write the weights in the order in which the kernels read them.

    `forward` and `backward` hold, for each group of channels of the result, taps × channels of the
    operand × the group; tap 0 is the latest input.
    """
    for n in range(len(convs)):
        conv = convs[n]
        num_in, num_out, num_taps = conv[0], conv[1], conv[2]
        size = num_in * num_taps
        groups_out, groups_in = (num_out + 5) // MOST_ROWS, (num_in + 5) // MOST_ROWS
        row = 0
        for group in range(groups_out):
            rows = num_rows(num_out, row, group, groups_out)
            for o in range(row, row + rows):
                v = parameters[conv[9] + o * size : conv[9] + (o + 1) * size]
                scale = _scale(conv, parameters, o)
                bias_lanes[conv[13] + o * LANES : conv[13] + (o + 1) * LANES] = parameters[
                    conv[11] + o
                ]
                column = 0
                for group_in in range(groups_in):
                    columns = num_rows(num_in, column, group_in, groups_in)
                    for i in range(column, column + columns):
                        for j in range(num_taps):
                            weight = scale * v[i * num_taps + num_taps - 1 - j]
                            to = conv[12] + row * size + (j * num_in + i) * rows + o - row
                            forward[to] = weight
                            to = conv[12] + column * num_out * num_taps
                            backward[to + (j * num_out + o) * columns + i - column] = weight
                    column += columns
            row += rows


@njit(**OPTIONS)
def _scale(conv, parameters, o):
    """g / ‖v‖ of an output channel; 1 for a plain weight."""
    if conv[8] == 0:
        return parameters.dtype.type(1)
    size = conv[0] * conv[2]
    total = parameters.dtype.type(0)
    for place in range(conv[9] + o * size, conv[9] + (o + 1) * size):
        total += parameters[place] * parameters[place]
    return parameters[conv[10] + o] / np.sqrt(total)


@njit(**OPTIONS)
def _convolve(conv, forward, bias_lanes, acts, x_at, y_at, least):
    """y = max(bias + convolution of x, least)."""
    num_in, num_out, num_taps, dilation = conv[0], conv[1], conv[2], conv[3]
    size, width = num_in * num_taps, num_out * LANES
    groups = (num_out + 5) // MOST_ROWS
    for p in range(conv[7]):
        t = conv[4] + p * conv[5]
        taps = min(num_taps, t // dilation + 1)
        y = y_at + p * width
        row = 0
        for group in range(groups):
            rows = num_rows(num_out, row, group, groups)
            sum_rows(
                rows,
                forward,
                conv[12] + row * size,
                num_in * rows,
                acts,
                x_at + t * num_in * LANES,
                -dilation * num_in * LANES,
                taps,
                num_in,
                bias_lanes,
                conv[13] + row * LANES,
                least,
                acts,
                y + row * LANES,
            )
            row += rows


@njit(**OPTIONS)
def _convolve_back(conv, backward, grads, dy_at, dx_at):
    """dx += gradient of the input, from the gradient dy of the output."""
    num_in, num_out, num_taps, dilation = conv[0], conv[1], conv[2], conv[3]
    first, stride, num_positions = conv[4], conv[5], conv[7]
    step = 1 if dilation > 1 else stride  # taps between two outputs that read the same input
    hop = dilation * step // stride
    least = grads.dtype.type(-np.inf)
    groups = (num_in + 5) // MOST_ROWS
    for t in range(conv[6]):
        tap = (first - t) % step
        p = (t + tap * dilation - first) // stride
        taps = min((num_taps - tap + step - 1) // step, (num_positions - 1 - p) // hop + 1)
        column = 0
        for group in range(groups):
            columns = num_rows(num_in, column, group, groups)
            to = dx_at + (t * num_in + column) * LANES
            sum_rows(
                columns,
                backward,
                conv[12] + column * num_out * num_taps + tap * num_out * columns,
                step * num_out * columns,
                grads,
                dy_at + p * num_out * LANES,
                hop * num_out * LANES,
                taps,
                num_out,
                grads,
                to,
                least,
                grads,
                to,
            )
            column += columns


@njit(**OPTIONS)
def _add_weight_gradient(conv, acts, x_at, grads, dy_at, packed, bias_lanes):
    """packed[j, o, i] += Σ dy[o] x[i]. Some steps at a time, which stay in the cache."""
    num_in, num_out, num_taps, dilation = conv[0], conv[1], conv[2], conv[3]
    first, stride, num_positions = conv[4], conv[5], conv[7]
    groups = (num_out + 5) // MOST_ROWS
    width = num_out * LANES
    total = bias_lanes[conv[13] : conv[13] + width]
    for begin in range(0, num_positions, MOST_POSITIONS):
        end = min(begin + MOST_POSITIONS, num_positions)
        for p in range(begin, end):
            dy = grads[dy_at + p * width : dy_at + (p + 1) * width]
            for place in range(width):
                total[place] += dy[place]
        for tap in range(num_taps):
            # The first output that this tap does not take beyond the first step.
            earliest = max(begin, -((first - tap * dilation) // stride))
            if earliest >= end:
                break
            t = first + earliest * stride - tap * dilation
            row = 0
            for group in range(groups):
                rows = num_rows(num_out, row, group, groups)
                for column in range(0, num_in, MOST_COLUMNS):
                    add_outer_rows(
                        rows,
                        min(MOST_COLUMNS, num_in - column),
                        grads,
                        dy_at + earliest * width + row * LANES,
                        width,
                        acts,
                        x_at + (t * num_in + column) * LANES,
                        stride * num_in * LANES,
                        end - earliest,
                        packed,
                        conv[12] + (tap * num_out + row) * num_in + column,
                        num_in,
                    )
                row += rows


@njit(**OPTIONS)
def unpack_gradient(convs, parameters, packed, bias_lanes, gradient):
    """Gradients of v, g and the biases from those of the packed weights."""
    for n in range(len(convs)):
        conv = convs[n]
        num_in, num_out, num_taps = conv[0], conv[1], conv[2]
        size = num_in * num_taps
        for o in range(num_out):
            lanes = bias_lanes[conv[13] + o * LANES : conv[13] + (o + 1) * LANES]
            gradient[conv[11] + o] = lanes.sum()
            v = parameters[conv[9] + o * size : conv[9] + (o + 1) * size]
            dv = gradient[conv[9] + o * size : conv[9] + (o + 1) * size]
            for i in range(num_in):
                for j in range(num_taps):
                    place = conv[12] + ((num_taps - 1 - j) * num_out + o) * num_in + i
                    dv[i * num_taps + j] = packed[place]
            if conv[8] == 1:
                # w = g v / ‖v‖: dg = dw · v / ‖v‖ and dv = g / ‖v‖ (dw − v (dw · v) / ‖v‖²)
                norm, along = (v * v).sum(), (dv * v).sum()
                scale = _scale(conv, parameters, o)
                gradient[conv[10] + o] = along / np.sqrt(norm)
                for place in range(size):
                    dv[place] = scale * (dv[place] - v[place] * along / norm)


@njit(**OPTIONS)
def _pass_where_positive(y, dy):
    """The gradient behind a ReLU, from its output and the gradient of that."""
    zero = y.dtype.type(0)
    for place in range(y.shape[0]):
        dy[place] = dy[place] if y[place] > zero else zero


@njit(**OPTIONS)
def _to_lanes(x_BTI, first, acts, at):
    """Sequences `first` and after, as (T, I, 16); lanes without a sequence are zero."""
    num_sequences, num_steps, num_inputs = x_BTI.shape
    lanes = min(LANES, num_sequences - first)
    for t in range(num_steps):
        for i in range(num_inputs):
            row = acts[at + (t * num_inputs + i) * LANES : at + (t * num_inputs + i + 1) * LANES]
            for lane in range(lanes):
                row[lane] = x_BTI[first + lane, t, i]
            row[lanes:] = 0


@njit(**OPTIONS)
def _from_lanes(acts, at, first, y_BPO):
    num_sequences, num_positions, num_outputs = y_BPO.shape
    for p in range(num_positions):
        for lane in range(min(LANES, num_sequences - first)):
            for o in range(num_outputs):
                y_BPO[first + lane, p, o] = acts[at + (p * num_outputs + o) * LANES + lane]


@njit(**OPTIONS)
def forward_blocks(convs, blocks, forward, bias_lanes, x_BTI, acts_GN, y_BPO):
    """Outputs of the last block; `acts` keeps what the way back reads, or is used for one group
    of sequences after the other, if it has room for one only."""
    for group in range((len(x_BTI) + LANES - 1) // LANES):
        acts = acts_GN[group % len(acts_GN)]
        _to_lanes(x_BTI, group * LANES, acts, blocks[0, 3])
        for n in range(len(blocks)):
            _forward_block(convs, blocks[n], forward, bias_lanes, acts)
        _from_lanes(acts, blocks[-1, 6], group * LANES, y_BPO)


@njit(**OPTIONS)
def _forward_block(convs, block, forward, bias_lanes, acts):
    conv1, conv2 = convs[block[0]], convs[block[1]]
    input_at, inner_at, second_at, output_at = block[3], block[4], block[5], block[6]
    width = conv2[1] * LANES
    zero, least = acts.dtype.type(0), acts.dtype.type(-np.inf)
    _convolve(conv1, forward, bias_lanes, acts, input_at, inner_at, zero)
    _convolve(conv2, forward, bias_lanes, acts, inner_at, second_at, zero)
    if block[2] == -2:
        return
    if block[2] >= 0:
        _convolve(convs[block[2]], forward, bias_lanes, acts, input_at, output_at, least)
    for p in range(conv2[7]):
        output = acts[output_at + p * width : output_at + (p + 1) * width]
        x = output
        if block[2] == -1:
            t = conv2[4] + p * conv2[5]
            x = acts[input_at + t * width : input_at + (t + 1) * width]
        second = acts[second_at + p * width : second_at + (p + 1) * width]
        _add_rectified(x, second, output)


@njit(**OPTIONS)
def _add_rectified(x, y, out):
    """out = max(x + y, 0)."""
    zero = out.dtype.type(0)
    for place in range(out.shape[0]):
        out[place] = larger(x[place] + y[place], zero)


@njit(**OPTIONS)
def backward_blocks(
    convs, blocks, backward, acts_GN, dy_BPO, packed, bias_lanes, scratch_3N, dx_BTI
):
    """Adds to the gradients `packed` and `bias_lanes`; dx is written where it is not empty."""
    room = scratch_3N.shape[1]
    grads = scratch_3N.reshape(-1)
    for group in range(len(acts_GN)):
        dy_at, dx_at = 0, room
        _to_lanes(dy_BPO, group * LANES, grads, dy_at)
        for n in range(len(blocks) - 1, -1, -1):
            wanted = n > 0 or len(dx_BTI) > 0
            _backward_block(
                convs,
                blocks[n],
                backward,
                acts_GN[group],
                grads,
                dy_at,
                dx_at,
                2 * room,
                packed,
                bias_lanes,
                wanted,
            )
            dy_at, dx_at = dx_at, dy_at
        if len(dx_BTI) > 0:
            _from_lanes(grads, dy_at, group * LANES, dx_BTI)


@njit(**OPTIONS)
def _backward_block(
    convs, block, backward, acts, grads, dy_at, dx_at, inner_grad_at, packed, bias_lanes, wanted
):
    """Replaces dy. Writes dx only if it is wanted."""
    conv1, conv2 = convs[block[0]], convs[block[1]]
    input_at, inner_at, second_at, output_at = block[3], block[4], block[5], block[6]
    width = conv2[1] * LANES
    size = conv2[7] * width
    dy = grads[dy_at : dy_at + size]
    grads[dx_at : dx_at + conv1[6] * conv1[0] * LANES] = 0
    if block[2] != -2:
        _pass_where_positive(acts[output_at : output_at + size], dy)
        if block[2] >= 0:
            skip = convs[block[2]]
            _add_weight_gradient(skip, acts, input_at, grads, dy_at, packed, bias_lanes)
            if wanted:
                _convolve_back(skip, backward, grads, dy_at, dx_at)
        else:
            for p in range(conv2[7]):
                x_at = dx_at + (conv2[4] + p * conv2[5]) * width
                grads[x_at : x_at + width] = dy[p * width : (p + 1) * width]
    _pass_where_positive(acts[second_at : second_at + size], dy)
    _add_weight_gradient(conv2, acts, inner_at, grads, dy_at, packed, bias_lanes)
    inner_size = conv1[7] * conv1[1] * LANES
    grads[inner_grad_at : inner_grad_at + inner_size] = 0
    _convolve_back(conv2, backward, grads, dy_at, inner_grad_at)
    _pass_where_positive(
        acts[inner_at : inner_at + inner_size], grads[inner_grad_at : inner_grad_at + inner_size]
    )
    _add_weight_gradient(conv1, acts, input_at, grads, inner_grad_at, packed, bias_lanes)
    if wanted:
        _convolve_back(conv1, backward, grads, inner_grad_at, dx_at)
