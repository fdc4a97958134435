"""Residual stacks of gated scans (`mingru`, `minlstm`) on the CPU, compiled by Numba.

Sixteen sequences at a time go through the whole stack, `CHUNK` steps after `CHUNK` steps, so that
what a chunk touches stays in the second-level cache. The way back takes the chunks in reverse.
`_stack_products` has the products.

    x̃ = [x; 1],  h⁰ = A x̃,  u = h r with r = 1/RMS(h),  p = P u + b,  s = scan(p),
    h' = h + O s + o,  y = h r γ after the last block

P holds the gain of the norm. In the first block it may act on x̃ r instead of A x̃ r, which saves
most of its products where there are few inputs.

Shape letters: T steps, I inputs, H channels, N units, P outputs of a projection, K its inputs.
"""

import numpy as np
from numba import njit

from models._lane_rows import add_scaled_rows, dot_rows, scale_rows
from models._lanes import LANES, OPTIONS
from models._stack_products import add_outer, from_lanes, multiply, to_lanes
from models._tanh import tanh

CHUNK = 16
"""Steps that go through all blocks together."""


@njit(**OPTIONS)
def _measure(h, at, width, eps, acts, r_at):
    """r = 1/RMS(h), for one step."""
    dot_rows(h, at, h, at, width, acts, r_at)
    r = acts[r_at : r_at + LANES]
    for lane in range(LANES):
        r[lane] = h.dtype.type(1) / np.sqrt(r[lane] / h.dtype.type(width) + eps)


@njit(**OPTIONS)
def _add(x, out):
    for place in range(len(out)):
        out[place] += x[place]


@njit(**OPTIONS)
def _sigmoid(x):
    half = type(x)(0.5)
    return half + half * tanh(half * x)


@njit(**OPTIONS)
def _positive(x):
    return x + type(x)(0.5) if x >= 0 else _sigmoid(x)


@njit(**OPTIONS)
def _slope(g):
    """The derivative of `_positive`, from its value."""
    one = type(g)(1)
    return one if g >= type(g)(0.5) else g * (one - g)


@njit(**OPTIONS)
def _advance(p, before, after):
    """One step of the scan. `p` becomes the gates and the candidate."""
    size = len(before)
    if len(p) == 2 * size:
        z, g = p[:size], p[size:]
        for n in range(size):
            z[n] = _sigmoid(z[n])
        for n in range(size):
            g[n] = _positive(g[n])
        for n in range(size):
            after[n] = before[n] + z[n] * (g[n] - before[n])
    else:
        f, i, g = p[:size], p[size : 2 * size], p[2 * size :]
        for n in range(2 * size):
            p[n] = _sigmoid(p[n])
        for n in range(size):
            g[n] = _positive(g[n])
        for n in range(size):
            after[n] = g[n] + f[n] / (f[n] + i[n]) * (before[n] - g[n])


@njit(**OPTIONS)
def _go_back(p, before, dy, ds, dp, total):
    """The gradient of `_advance`. `ds` is that of the state, of this step and then the one before.

    `total` sums dp over the steps.
    """
    size = len(ds)
    one = ds.dtype.type(1)
    if len(p) == 2 * size:
        z, g, dz, dg = p[:size], p[size:], dp[:size], dp[size:]
        for n in range(size):
            d = ds[n] + dy[n]
            keep = one - z[n]
            dz[n] = d * (g[n] - before[n]) * z[n] * keep
            dg[n] = d * z[n] * _slope(g[n])
            ds[n] = d * keep
    else:
        f, i, g = p[:size], p[size : 2 * size], p[2 * size :]
        df, di, dg = dp[:size], dp[size : 2 * size], dp[2 * size :]
        for n in range(size):
            d = ds[n] + dy[n]
            keep = f[n] / (f[n] + i[n])
            to_gates = d * (before[n] - g[n]) * keep * (one - keep)
            df[n] = to_gates * (one - f[n])
            di[n] = to_gates * (i[n] - one)
            dg[n] = d * (one - keep) * _slope(g[n])
            ds[n] = d * keep
    for n in range(len(dp)):
        total[n] += dp[n]


@njit(**OPTIONS)
def _project(stack, block, direct, packed, bias_lanes, eps, acts, h, at, steps):
    """Normalise h, project and scan `steps` steps. With `direct` the inputs are projected."""
    width, gates = stack[1], stack[2]
    units, inputs, weight_at, _, lanes_at, p_at, s_at, u_at, r_at = block
    size, row = units * LANES, inputs * LANES
    u_at += at * row
    p_at += at * gates * size
    s_at += at * size
    for t in range(steps):
        r, h_t = r_at + (at + t) * LANES, t * width * LANES
        _measure(h, h_t, width, eps, acts, r)
        if direct:
            scale_rows(acts, (at + t) * row, acts, r, inputs, acts, u_at + t * row)
        else:
            scale_rows(h, h_t, acts, r, inputs, acts, u_at + t * row)
    outputs, step = gates * units, gates * size
    multiply(
        packed,
        weight_at,
        outputs,
        inputs,
        acts,
        u_at,
        bias_lanes,
        lanes_at,
        0,
        acts,
        p_at,
        steps,
    )
    for t in range(steps):
        p = acts[p_at + t * step : p_at + (t + 1) * step]
        before = acts[s_at + t * size : s_at + (t + 1) * size]
        _advance(p, before, acts[s_at + (t + 1) * size : s_at + (t + 2) * size])


@njit(**OPTIONS)
def _add_output(block, width, packed, bias_lanes, gates, acts, h, at, first, steps):
    """h += O s + o, from the step `first` of the chunk on."""
    units, out_at, lanes_at, s_at = block[0], block[3], block[4], block[6]
    s, row = s_at + (at + first + 1) * units * LANES, width * LANES
    bias_at = lanes_at + gates * units * LANES
    bias = bias_lanes[bias_at : bias_at + row]
    for t in range(first, steps):
        _add(bias, h[t * row : (t + 1) * row])
    to, rest = first * row, steps - first
    multiply(packed, out_at, width, units, acts, s, h, to, row, h, to, rest)


@njit(**OPTIONS)
def _finish(width, gain, eps, acts, n_at, r_at, h, h_at, y):
    """The last norm at one step: n = h r in `acts`, and y = n γ."""
    _measure(h, h_at, width, eps, acts, r_at)
    scale_rows(h, h_at, acts, r_at, width, acts, n_at)
    n = acts[n_at : n_at + width * LANES]
    for place in range(len(n)):
        y[place] = n[place] * gain[place]


@njit(**OPTIONS)
def _embed(stack, packed, acts, x_BTI, first, begin, at, steps, h):
    """x̃ = [x; 1] in `acts`, and h = A x̃."""
    inputs, row = stack[0] + 1, stack[1] * LANES
    x = at * inputs * LANES
    to_lanes(x_BTI, first, begin, steps, inputs, acts, x)
    for t in range(steps):
        one = x + (t * inputs + inputs - 1) * LANES
        acts[one : one + LANES] = 1
    h[: steps * row] = 0
    multiply(packed, 0, stack[1], inputs, acts, x, h, 0, row, h, 0, steps)


@njit(**OPTIONS)
def _begin_scan(block, kept, begin, acts):
    """Write the state before a chunk."""
    size, s_at = block[0] * LANES, block[6]
    if begin == 0:
        acts[s_at : s_at + size] = 0
    elif not kept:  # the last state of the chunk before, which was a full one
        last = s_at + CHUNK * size
        acts[s_at : s_at + size] = acts[last : last + size]


@njit(**OPTIONS)
def forward_stack(stack, blocks, packed, bias_lanes, eps, x_BTI, acts_GN, y_BPH):
    """Outputs of all steps, or of the last one.

    `acts` keeps what the way back reads. If nothing is kept it has room for one chunk.
    """
    _, width, gates, last_only, kept, direct, n_at, r_at, gain_lanes_at = stack
    num_steps, top, row = x_BTI.shape[1], len(blocks) - 1, width * LANES
    gain = bias_lanes[gain_lanes_at : gain_lanes_at + row]
    h, y = np.empty(CHUNK * row, packed.dtype), np.empty(CHUNK * row, packed.dtype)
    for group in range((len(x_BTI) + LANES - 1) // LANES):
        acts = acts_GN[group % len(acts_GN)]
        for begin in range(0, num_steps, CHUNK):
            steps = min(CHUNK, num_steps - begin)
            at = begin if kept else 0
            _embed(stack, packed, acts, x_BTI, group * LANES, begin, at, steps, h)
            for n in range(len(blocks)):
                block = blocks[n]
                _begin_scan(block, kept, begin, acts)
                here = direct == 1 and n == 0
                _project(stack, block, here, packed, bias_lanes, eps, acts, h, at, steps)
                first = steps - 1 if last_only and n == top else 0
                _add_output(block, width, packed, bias_lanes, gates, acts, h, at, first, steps)
            if last_only and begin + steps == num_steps:
                _finish(width, gain, eps, acts, n_at, r_at, h, (steps - 1) * row, y)
                from_lanes(y, 0, width, group * LANES, 0, 1, y_BPH)
            elif not last_only:
                for t in range(steps):
                    n, r = n_at + (at + t) * row, r_at + (at + t) * LANES
                    _finish(width, gain, eps, acts, n, r, h, t * row, y[t * row : (t + 1) * row])
                from_lanes(y, 0, width, group * LANES, begin, steps, y_BPH)


@njit(**OPTIONS)
def _share(acts, u, r, du, du_at, inputs, width, share):
    """share = −r (du · u) / H at one step: what the norm takes from the gradient along h."""
    dot_rows(acts, u, du, du_at, inputs, share, 0)
    for lane in range(LANES):
        share[lane] *= -acts[r + lane] / acts.dtype.type(width)


@njit(**OPTIONS)
def _norm_back(acts, n, r, dn, dn_at, width, share, dh, dh_at):
    """dh += r (dn − n (dn · n) / H), for one step of n = h r."""
    _share(acts, n, r, dn, dn_at, width, width, share)
    add_scaled_rows(dn, dn_at, acts, r, width, dh, dh_at)
    add_scaled_rows(acts, n, share, 0, width, dh, dh_at)


@njit(**OPTIONS)
def _finish_back(acts, n_at, r_at, gain, dy, dy_at, total, share, dh):
    """The gradient of `_finish` at one step, whose place in dy and dh is the same."""
    n, dn = acts[n_at : n_at + len(gain)], dy[dy_at : dy_at + len(gain)]
    for place in range(len(gain)):
        total[place] += dn[place] * n[place]
    for place in range(len(gain)):
        dn[place] *= gain[place]
    _norm_back(acts, n_at, r_at, dy, dy_at, len(gain) // LANES, share, dh, dy_at)


@njit(**OPTIONS)
def _block_back(
    stack, block, direct, only_last, packed, acts, at, steps, ds, dh, room, zeros, sums, totals
):
    """Replaces dh at the output of a block by that at its input. `room` begins with du then."""
    width, gates = stack[1], stack[2]
    units, inputs, weight_at, out_at, lanes_at, p_at, s_at, u_at, r_at = block
    size, row, step = units * LANES, width * LANES, inputs * LANES
    num_p, dp_at = gates * size, CHUNK * max(size, step)
    begin = steps - 1 if only_last else 0
    total = totals[lanes_at + num_p : lanes_at + num_p + row]
    for t in range(begin, steps):
        _add(dh[t * row : (t + 1) * row], total)
    s, rest = s_at + (at + 1) * size, steps - begin
    to, dy_at = begin * row, begin * size
    add_outer(dh, to, width, acts, s + dy_at, units, rest, sums, out_at)
    room[:dy_at] = 0
    multiply(packed, out_at, units, width, dh, to, zeros, 0, 0, room, dy_at, rest)
    total = totals[lanes_at : lanes_at + num_p]
    for t in range(steps - 1, -1, -1):
        p = acts[p_at + (at + t) * num_p : p_at + (at + t + 1) * num_p]
        before = acts[s + (t - 1) * size : s + t * size]
        dy = room[t * size : (t + 1) * size]
        _go_back(p, before, dy, ds, room[dp_at + t * num_p : dp_at + (t + 1) * num_p], total)
    u = u_at + at * step
    outputs = gates * units
    add_outer(room, dp_at, outputs, acts, u, inputs, steps, sums, weight_at)
    multiply(packed, weight_at, inputs, outputs, room, dp_at, zeros, 0, 0, room, 0, steps)
    if not direct:
        share = zeros[-LANES:]
        for t in range(steps):
            r = r_at + (at + t) * LANES
            _norm_back(acts, u + t * step, r, room, t * step, width, share, dh, t * row)


@njit(**OPTIONS)
def _embed_back(stack, block, forward, backward, acts, at, steps, du, dh, h, share, sums, dx):
    """The gradient of A and, where dx has room for it, that of x̃; du is that of x̃ r."""
    inputs, width, direct = stack[0] + 1, stack[1], stack[5]
    row, step = width * LANES, inputs * LANES
    u_at, r_at, x = block[7], block[8] + at * LANES, at * step
    if direct:  # r depends on h
        h[: steps * row] = 0
        multiply(forward, 0, width, inputs, acts, x, h, 0, row, h, 0, steps)
        for t in range(steps):
            r = r_at + t * LANES
            _share(acts, u_at + (at + t) * step, r, du, t * step, inputs, width, share)
            for lane in range(LANES):
                share[lane] *= acts[r + lane]
            add_scaled_rows(h, t * row, share, 0, width, dh, t * row)
    add_outer(dh, 0, width, acts, x, inputs, steps, sums, 0)
    if len(dx) > 0:
        dx[:] = 0
        if direct:
            for t in range(steps):
                scale_rows(du, t * step, acts, r_at + t * LANES, inputs, dx, t * step)
        multiply(backward, 0, inputs, width, dh, 0, dx, 0, step, dx, 0, steps)


@njit(**OPTIONS)
def _outputs_back(stack, gain, acts, dy_BPH, first, begin, steps, num_steps, dy, total, share, dh):
    """dh at the output of the last block, from the gradients of a chunk's outputs."""
    width, last_only, n_at, r_at = stack[1], stack[3], stack[6], stack[7]
    row, at, start = width * LANES, begin, 0
    if last_only:  # only the last step has an output
        at, start = 0, steps - 1 if begin + steps == num_steps else steps
    dh[:] = 0
    if start < steps:
        to_lanes(dy_BPH, first, at, steps - start, width, dy, start * row)
    for t in range(start, steps):
        n, r = n_at + (at + t - start) * row, r_at + (at + t - start) * LANES
        _finish_back(acts, n, r, gain, dy, t * row, total, share, dh)


@njit(**OPTIONS)
def backward_stack(
    stack, blocks, forward, backward, bias_lanes, acts_GN, dy_BPH, sums, totals, dx_BTI
):
    """Adds to `sums` the gradients of matrices, and to `totals` those of biases and the gain.

    dx is written where it is not empty.
    """
    num_inputs, width, gates, last_only, _, direct, _, _, gain_lanes_at = stack
    num_steps, row, step = dx_BTI.shape[1], width * LANES, (num_inputs + 1) * LANES
    gain = bias_lanes[gain_lanes_at : gain_lanes_at + row]
    total = totals[gain_lanes_at : gain_lanes_at + row]
    most, units = max(blocks[:, 0].max(), blocks[:, 1].max()), blocks[:, 0].max()
    dh, dy = np.empty(CHUNK * row, forward.dtype), np.empty(CHUNK * row, forward.dtype)
    room = np.empty(CHUNK * (most + gates * units) * LANES, forward.dtype)
    zeros = np.zeros((most + 1) * LANES, forward.dtype)
    share = zeros[-LANES:]
    dx = np.empty(CHUNK * step if len(dx_BTI) > 0 else 0, forward.dtype)
    for group in range(len(acts_GN)):
        acts, first = acts_GN[group], group * LANES
        ds_LN = np.zeros((len(blocks), units * LANES), forward.dtype)
        for begin in range((num_steps - 1) // CHUNK * CHUNK, -1, -CHUNK):
            steps = min(CHUNK, num_steps - begin)
            _outputs_back(
                stack, gain, acts, dy_BPH, first, begin, steps, num_steps, dy, total, share, dh
            )
            for n in range(len(blocks) - 1, -1, -1):
                _block_back(
                    stack,
                    blocks[n],
                    direct == 1 and n == 0,
                    last_only == 1 and n == len(blocks) - 1,
                    backward,
                    acts,
                    begin,
                    steps,
                    ds_LN[n, : blocks[n, 0] * LANES],
                    dh,
                    room,
                    zeros,
                    sums,
                    totals,
                )
            _embed_back(
                stack,
                blocks[0],
                forward,
                backward,
                acts,
                begin,
                steps,
                room,
                dh,
                dy,
                share,
                sums,
                dx,
            )
            if len(dx_BTI) > 0:
                from_lanes(dx, 0, num_inputs + 1, first, begin, steps, dx_BTI)
