"""Residual stacks of gated scans (`mingru`, `minlstm`) on the CPU, compiled by Numba.

Sixteen sequences at a time go through the whole stack, `CHUNK` steps after `CHUNK` steps, so that
what a chunk touches stays in the second-level cache. The way back takes the chunks in reverse.
`_lanes` has the inner loops.

    x̃ = [x; 1],  h⁰ = A x̃,  u = h r with r = 1/RMS(h),  p = P u + b,  s = scan(p),
    h' = h + O s + o,  y = h r γ after the last block

P holds the gain of the norm. In the first block it may act on x̃ r instead of A x̃ r, which saves
most of its products where there are few inputs.

Shape letters: T steps, I inputs, H channels, N units, P outputs of a projection, K its inputs.
"""

import numpy as np
from numba import njit

from models._lanes import LANES, MOST_COLUMNS, MOST_ROWS, OPTIONS, add_outer_rows, num_rows, sum_rows
from models._tanh import tanh

CHUNK = 16
"""Steps that go through all blocks together."""


@njit(**OPTIONS)
def pack(matrices, flat, forward, backward):
    """Write each matrix (P, K) and its transpose in the order in which `_multiply` reads them."""
    for n in range(len(matrices)):
        at, num_out, num_in = matrices[n]
        for columns in (False, True):
            to = backward if columns else forward
            outer, inner = (num_in, num_out) if columns else (num_out, num_in)
            groups, row = (outer + 5) // MOST_ROWS, 0
            for group in range(groups):
                rows = num_rows(outer, row, group, groups)
                for o in range(row, row + rows):
                    for i in range(inner):
                        place = i * num_in + o if columns else o * num_in + i
                        to[at + row * inner + i * rows + o - row] = flat[at + place]
                row += rows


@njit(**OPTIONS)
def _multiply(packed, at, num_out, num_in, x, x_at, start, start_at, start_step, y, y_at, steps):
    """y = start + W x at each step."""
    least = packed.dtype.type(-np.inf)
    groups = (num_out + 5) // MOST_ROWS
    for t in range(steps):
        row = 0
        for group in range(groups):
            rows = num_rows(num_out, row, group, groups)
            sum_rows(
                rows,
                packed,
                at + row * num_in,
                0,
                x,
                x_at + t * num_in * LANES,
                0,
                1,
                num_in,
                start,
                start_at + t * start_step + row * LANES,
                least,
                y,
                y_at + (t * num_out + row) * LANES,
            )
            row += rows


@njit(**OPTIONS)
def _add_outer(dy, dy_at, num_out, x, x_at, num_in, steps, gradient, at):
    """gradient[o, i] += Σ dy[o] x[i] over steps and sequences."""
    groups, row = (num_out + 5) // MOST_ROWS, 0
    for group in range(groups):
        rows = num_rows(num_out, row, group, groups)
        for column in range(0, num_in, MOST_COLUMNS):
            add_outer_rows(
                rows,
                min(MOST_COLUMNS, num_in - column),
                dy,
                dy_at + row * LANES,
                num_out * LANES,
                x,
                x_at + column * LANES,
                num_in * LANES,
                steps,
                gradient,
                at + row * num_in + column,
                num_in,
            )
        row += rows


@njit(**OPTIONS)
def _to_lanes(x_BTI, first, begin, steps, rows, out, at):
    """Steps of the sequences `first` and after, as (T, rows, 16); lanes without one are zero."""
    num_sequences, _, num_inputs = x_BTI.shape
    lanes = min(LANES, num_sequences - first)
    for t in range(steps):
        to = out[at + t * rows * LANES : at + (t * rows + num_inputs) * LANES]
        if lanes < LANES:
            to[:] = 0
        for lane in range(lanes):
            row = x_BTI[first + lane, begin + t]
            for i in range(num_inputs):
                to[i * LANES + lane] = row[i]


@njit(**OPTIONS)
def _from_lanes(values, at, rows, first, begin, steps, out_BTH):
    for t in range(steps):
        row = values[at + t * rows * LANES : at + (t + 1) * rows * LANES]
        for lane in range(min(LANES, len(out_BTH) - first)):
            to = out_BTH[first + lane, begin + t]
            for i in range(len(to)):
                to[i] = row[i * LANES + lane]


@njit(**OPTIONS)
def _add_and_measure(h, bias, eps, r):
    """h += bias, and r = 1/RMS(h), for one step (H, 16)."""
    width = h.shape[0]
    r[:] = 0
    for i in range(width):
        for lane in range(LANES):
            value = h[i, lane] + bias[i]
            h[i, lane] = value
            r[lane] += value * value
    for lane in range(LANES):
        r[lane] = h.dtype.type(1) / np.sqrt(r[lane] / h.dtype.type(width) + eps)


@njit(**OPTIONS)
def _scale(x, r, out):
    """out = x r, for one step (K, 16)."""
    for i in range(x.shape[0]):
        for lane in range(LANES):
            out[i, lane] = x[i, lane] * r[lane]


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
def _project(stack, block, first, packed, bias_lanes, bias, eps, acts, x, h, at, steps):
    """Add the bias of the block before to h, normalise, project and scan `steps` steps."""
    num_inputs, width, gates = stack[0], stack[1], stack[2]
    units, inputs, weight_at, _, lanes_at, p_at, s_at, u_at, r_at = block
    direct = first and stack[5] == 1  # the projection reads the inputs
    u_at += at * inputs * LANES
    p_at += at * gates * units * LANES
    s_at += at * units * LANES
    for t in range(steps):
        h_t = h[t * width * LANES : (t + 1) * width * LANES].reshape(width, LANES)
        r = acts[r_at + (at + t) * LANES : r_at + (at + t + 1) * LANES]
        _add_and_measure(h_t, bias, eps, r)
        u = acts[u_at + t * inputs * LANES : u_at + (t + 1) * inputs * LANES]
        source = h_t
        if direct:
            x_t = acts[x + t * inputs * LANES : x + (t + 1) * inputs * LANES]
            source = x_t.reshape(inputs, LANES)
        _scale(source, r, u.reshape(inputs, LANES))
    size = units * LANES
    _multiply(
        packed,
        weight_at,
        gates * units,
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
        p = acts[p_at + t * gates * size : p_at + (t + 1) * gates * size]
        before = acts[s_at + t * size : s_at + (t + 1) * size]
        after = acts[s_at + (t + 1) * size : s_at + (t + 2) * size]
        _advance(p, before, after)


@njit(**OPTIONS)
def _finish(stack, gain, bias, eps, acts, n_at, r_at, h, t, y):
    """The last norm at step t of h: n = h r in `acts`, and y = n γ."""
    width = stack[1]
    h_t = h[t * width * LANES : (t + 1) * width * LANES].reshape(width, LANES)
    r = acts[r_at : r_at + LANES]
    n = acts[n_at : n_at + width * LANES].reshape(width, LANES)
    _add_and_measure(h_t, bias, eps, r)
    _scale(h_t, r, n)
    y_t = y[t * width * LANES : (t + 1) * width * LANES].reshape(width, LANES)
    for i in range(width):
        for lane in range(LANES):
            y_t[i, lane] = n[i, lane] * gain[i]


@njit(**OPTIONS)
def _embed(stack, packed, acts, x_BTI, first, begin, at, steps, h):
    """x̃ = [x; 1] in `acts`, and h = A x̃. Returns the position of x̃."""
    inputs, width = stack[0] + 1, stack[1]
    x = at * inputs * LANES
    _to_lanes(x_BTI, first, begin, steps, inputs, acts, x)
    for t in range(steps):
        one = x + (t * inputs + inputs - 1) * LANES
        acts[one : one + LANES] = 1
    h[: steps * width * LANES] = 0
    _multiply(packed, 0, width, inputs, acts, x, h, 0, width * LANES, h, 0, steps)
    return x


@njit(**OPTIONS)
def forward_stack(stack, blocks, flat, packed, bias_lanes, eps, x_BTI, acts_GN, y_BPH):
    """Outputs of all steps, or of the last one.

    `acts` keeps what the way back reads. If nothing is kept it has room for one chunk.
    """
    _, width, _, last_only, kept, _, n_at, r_at, gain_at, _ = stack
    num_steps, top = x_BTI.shape[1], len(blocks) - 1
    gain = flat[gain_at : gain_at + width]
    size = CHUNK * width * LANES
    h, y = np.empty(size, flat.dtype), np.empty(size, flat.dtype)
    for group in range((len(x_BTI) + LANES - 1) // LANES):
        acts = acts_GN[group % len(acts_GN)]
        for begin in range(0, num_steps, CHUNK):
            steps = min(CHUNK, num_steps - begin)
            at = begin if kept else 0
            x = _embed(stack, packed, acts, x_BTI, group * LANES, begin, at, steps, h)
            bias = np.zeros(width, flat.dtype)
            for n in range(len(blocks)):
                units, out_at, s_at = blocks[n, 0], blocks[n, 3], blocks[n, 6]
                before = s_at + at * units * LANES
                if begin == 0:
                    acts[before : before + units * LANES] = 0
                elif not kept:  # the last state of the chunk before, which was a full one
                    last = s_at + CHUNK * units * LANES
                    acts[before : before + units * LANES] = acts[last : last + units * LANES]
                _project(
                    stack, blocks[n], n == 0, packed, bias_lanes, bias, eps, acts, x, h, at, steps
                )
                first = steps - 1 if last_only and n == top else 0
                s, to = before + (first + 1) * units * LANES, first * width * LANES
                step = width * LANES
                _multiply(
                    packed, out_at, width, units, acts, s, h, to, step, h, to, steps - first
                )
                bias = flat[out_at + width * units : out_at + width * (units + 1)]
            if last_only:
                if begin + steps == num_steps:
                    _finish(stack, gain, bias, eps, acts, n_at, r_at, h, steps - 1, y)
                    to = (steps - 1) * width * LANES
                    _from_lanes(y, to, width, group * LANES, 0, 1, y_BPH)
                continue
            for t in range(steps):
                n, r = n_at + (at + t) * width * LANES, r_at + (at + t) * LANES
                _finish(stack, gain, bias, eps, acts, n, r, h, t, y)
            _from_lanes(y, 0, width, group * LANES, begin, steps, y_BPH)


@njit(**OPTIONS)
def _share(u, r, du, width):
    """r (du · u) / H at one step: what the norm takes from the gradient along h."""
    share = np.zeros(LANES, r.dtype)
    for i in range(u.shape[0]):
        for lane in range(LANES):
            share[lane] += du[i, lane] * u[i, lane]
    for lane in range(LANES):
        share[lane] *= r[lane] / r.dtype.type(width)
    return share


@njit(**OPTIONS)
def _norm_back(n, r, dn, dh):
    """dh += r (dn − n (dn · n) / H), for one step of n = h r."""
    share = _share(n, r, dn, n.shape[0])
    for i in range(n.shape[0]):
        for lane in range(LANES):
            dh[i, lane] += dn[i, lane] * r[lane] - n[i, lane] * share[lane]


@njit(**OPTIONS)
def _scale_back(h, u, r, du, dh):
    """The gradient of h, for one step of u = x̃ r, in which only r depends on h."""
    share = _share(u, r, du, h.shape[0])
    for i in range(h.shape[0]):
        for lane in range(LANES):
            dh[i, lane] -= h[i, lane] * r[lane] * share[lane]


@njit(**OPTIONS)
def _finish_back(n, r, gain, dy, total, dh):
    """The gradient of `_finish` at one step. Replaces dy, adds to dh and to the gain's `total`."""
    for i in range(n.shape[0]):
        for lane in range(LANES):
            total[i, lane] += dy[i, lane] * n[i, lane]
            dy[i, lane] *= gain[i]
    _norm_back(n, r, dy, dh)


@njit(**OPTIONS)
def _block_back(
    stack, block, first, only_last, packed, acts, at, steps, ds, dh, room, gradient, totals
):
    """Replaces dh at the output of a block by that at its input. `room` begins with du then."""
    width, gates, direct = stack[1], stack[2], first and stack[5] == 1
    units, inputs, weight_at, out_at, lanes_at, p_at, s_at, u_at, r_at = block
    size, row = units * LANES, width * LANES
    num_p = gates * size
    dy_at, dp_at = 0, CHUNK * max(units, inputs) * LANES
    zeros = np.zeros(max(units, inputs) * LANES, dh.dtype)
    begin = steps - 1 if only_last else 0
    total = totals[lanes_at + num_p : lanes_at + num_p + row]
    for t in range(begin, steps):
        total += dh[t * row : (t + 1) * row]
    s = s_at + (at + 1) * size
    rest = steps - begin
    _add_outer(
        dh, begin * row, width, acts, s + begin * size, units, rest, gradient, out_at
    )
    room[dy_at : dy_at + begin * size] = 0
    _multiply(
        packed, out_at, units, width, dh, begin * row, zeros, 0, 0, room, dy_at + begin * size, rest
    )
    total = totals[lanes_at : lanes_at + num_p]
    for t in range(steps - 1, -1, -1):
        p = acts[p_at + (at + t) * num_p : p_at + (at + t + 1) * num_p]
        before = acts[s + (t - 1) * size : s + t * size]
        dy = room[dy_at + t * size : dy_at + (t + 1) * size]
        _go_back(p, before, dy, ds, room[dp_at + t * num_p : dp_at + (t + 1) * num_p], total)
    u = u_at + at * inputs * LANES
    _add_outer(room, dp_at, gates * units, acts, u, inputs, steps, gradient, weight_at)
    _multiply(
        packed, weight_at, inputs, gates * units, room, dp_at, zeros, 0, 0, room, dy_at, steps
    )
    if direct:
        return
    step = inputs * LANES
    for t in range(steps):
        _norm_back(
            acts[u + t * step : u + (t + 1) * step].reshape(inputs, LANES),
            acts[r_at + (at + t) * LANES : r_at + (at + t + 1) * LANES],
            room[dy_at + t * step : dy_at + (t + 1) * step].reshape(inputs, LANES),
            dh[t * row : (t + 1) * row].reshape(width, LANES),
        )


@njit(**OPTIONS)
def _embed_back(stack, block, forward, backward, acts, at, steps, du, dh, h, gradient, dx):
    """The gradient of A and, where dx has room for it, that of x̃; du is that of x̃ r."""
    inputs, width = stack[0] + 1, stack[1]
    u_at, r_at, row, step = block[7], block[8], width * LANES, inputs * LANES
    x = at * step
    if stack[5] == 1:
        h[: steps * row] = 0
        _multiply(forward, 0, width, inputs, acts, x, h, 0, row, h, 0, steps)
        for t in range(steps):
            u = u_at + (at + t) * step
            _scale_back(
                h[t * row : (t + 1) * row].reshape(width, LANES),
                acts[u : u + step].reshape(inputs, LANES),
                acts[r_at + (at + t) * LANES : r_at + (at + t + 1) * LANES],
                du[t * step : (t + 1) * step].reshape(inputs, LANES),
                dh[t * row : (t + 1) * row].reshape(width, LANES),
            )
    _add_outer(dh, 0, width, acts, x, inputs, steps, gradient, 0)
    if len(dx) == 0:
        return
    dx[: steps * step] = 0
    if stack[5] == 1:
        for t in range(steps):
            _scale(
                du[t * step : (t + 1) * step].reshape(inputs, LANES),
                acts[r_at + (at + t) * LANES : r_at + (at + t + 1) * LANES],
                dx[t * step : (t + 1) * step].reshape(inputs, LANES),
            )
    _multiply(backward, 0, inputs, width, dh, 0, dx, 0, step, dx, 0, steps)


@njit(**OPTIONS)
def backward_stack(stack, blocks, flat, forward, backward, acts_GN, dy_BPH, gradient, totals, dx_BTI):
    """Adds to `gradient` and `totals`, which sums biases and the gain over steps.

    dx is written where it is not empty.
    """
    num_inputs, width, gates, last_only, _, _, n_at, r_at, gain_at, gain_lanes_at = stack
    num_steps, top, row = dx_BTI.shape[1], len(blocks) - 1, width * LANES
    gain = flat[gain_at : gain_at + width]
    most, step = 0, (num_inputs + 1) * LANES
    for n in range(len(blocks)):
        most = max(most, max(blocks[n, 0], blocks[n, 1]) + gates * blocks[n, 0])
    size = CHUNK * row
    dh, dy = np.empty(size, flat.dtype), np.empty(size, flat.dtype)
    h = np.empty(size, flat.dtype)
    room = np.empty(CHUNK * most * LANES, flat.dtype)
    dx = np.empty(CHUNK * step if len(dx_BTI) > 0 else 0, flat.dtype)
    total = totals[gain_lanes_at : gain_lanes_at + row].reshape(width, LANES)
    for group in range(len(acts_GN)):
        acts, first = acts_GN[group], group * LANES
        ds_LN = np.zeros((len(blocks), blocks[:, 0].max() * LANES), flat.dtype)
        for begin in range((num_steps - 1) // CHUNK * CHUNK, -1, -CHUNK):
            steps = min(CHUNK, num_steps - begin)
            dh[:] = 0
            start = 0 if not last_only else steps - 1 if begin + steps == num_steps else steps
            if start < steps:
                at = 0 if last_only else begin
                _to_lanes(dy_BPH, first, at, steps - start, width, dy, start * row)
                for t in range(start, steps):
                    n, r = n_at + (at + t - start) * row, r_at + (at + t - start) * LANES
                    _finish_back(
                        acts[n : n + row].reshape(width, LANES),
                        acts[r : r + LANES],
                        gain,
                        dy[t * row : (t + 1) * row].reshape(width, LANES),
                        total,
                        dh[t * row : (t + 1) * row].reshape(width, LANES),
                    )
            for n in range(top, -1, -1):
                ds = ds_LN[n, : blocks[n, 0] * LANES]
                only = last_only == 1 and n == top
                _block_back(
                    stack,
                    blocks[n],
                    n == 0,
                    only,
                    backward,
                    acts,
                    begin,
                    steps,
                    ds,
                    dh,
                    room,
                    gradient,
                    totals,
                )
            _embed_back(
                stack, blocks[0], forward, backward, acts, begin, steps, room, dh, h, gradient, dx
            )
            if len(dx_BTI) > 0:
                _from_lanes(dx, 0, num_inputs + 1, first, begin, steps, dx_BTI)
