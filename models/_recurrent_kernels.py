"""Scans of recurrent layers over time on the CPU, forward and backward, compiled by Numba.

Each step multiplies [W b U] with the column [x_t; 1; h_{t−1}], applies the gates, and writes h_t
into the next column. Sixteen sequences, or a single one, go through all steps before the next ones,
so that what a step touches stays in the cache; their gates are long contiguous rows, which compile
to vectors. The backward scan adds up the gradient of the weights some steps at a time.

All kinds of layers share the two scans, since compiling the products takes most of the time of
compiling a scan.

Shape letters: B sequences, T steps, I inputs, H hidden units, G rows of the weights,
K = I + 1 + H, N groups of sequences, P parts of the weights (see `_recurrent_products`). Flat
arrays of a group have X numbers: (T + 1, width, lanes) columns, (T, G, lanes) gates, and
(T + 1, H, lanes) cells. With fewer groups than the sequences need, the last ones overwrite others.
"""

import numpy as np
from numba import njit

from models._lanes import LANES, OPTIONS
from models._recurrent_products import (
    add_outer,
    gradient_room,
    multiply,
    num_slots,
    read,
    room,
    start_column,
    unpack_gradient,
    write,
)
from models._tanh import tanh

TANH, RECTIFIED, GRU, LSTM = range(4)
"""Kinds of layers. Only the LSTM has cells; those of others are empty."""
__all__ = ["GRU", "LANES", "LSTM", "RECTIFIED", "TANH", "backward", "forward"]


@njit(**OPTIONS)
def forward(
    kind,
    x_BTI,
    h0_B1H,
    c0_B1H,
    parts_P4,
    w,
    lanes,
    width,
    columns_NX,
    gates_NX,
    cells_NX,
    y_BTH,
    c_B1H,
):
    """States h of all steps, and the last cells. What the way back reads stays in the arrays."""
    num_steps, num_inputs, num_units = x_BTI.shape[1], x_BTI.shape[2], y_BTH.shape[2]
    state, size, num_gates = (num_inputs + 1) * lanes, num_units * lanes, _num_gates(kind)
    for first in range(0, len(x_BTI), lanes):
        group = (first // lanes) % len(columns_NX)
        columns, cells, gates = columns_NX[group], cells_NX[group], gates_NX[group]
        read(h0_B1H, 0, first, lanes, columns[state:])
        read(c0_B1H, 0, first, lanes, cells)
        for t in range(num_steps):
            at, gates_at = t * width * lanes, t * num_gates * size
            h_at = at + width * lanes + state
            start_column(x_BTI, t, first, lanes, columns[at:])
            multiply(parts_P4, w, columns, at, gates, gates_at, lanes)
            h = columns[h_at : h_at + size]
            _apply_gates(
                kind,
                gates[gates_at : gates_at + num_gates * size],
                columns[at + state : at + state + size],
                h,
                cells[t * size : (t + 1) * size],
                cells[(t + 1) * size : (t + 2) * size],
            )
            write(h, first, lanes, y_BTH, t)
        write(cells[num_steps * size :], first, lanes, c_B1H, 0)


@njit(**OPTIONS)
def backward(
    kind,
    dy_BTH,
    dc_B1H,
    parts_P4,
    back_P4,
    w,
    lanes,
    width,
    columns_NX,
    gates_NX,
    cells_NX,
    dw_GK,
    dx_BTI,
    dh0_B1H,
    dc0_B1H,
):
    """Gradients; that of x is written where its array is not empty. `w` is transposed."""
    num_steps, num_units, num_rows = dy_BTH.shape[1], dy_BTH.shape[2], len(dw_GK)
    state, size = (dw_GK.shape[1] - num_units) * lanes, num_units * lanes
    num_gates, slots = num_rows // num_units, num_slots(lanes)
    ds_all = np.empty(slots * num_rows * lanes, w.dtype)
    dcolumn = np.empty(room(width, lanes, w), w.dtype)
    dw = np.zeros(gradient_room(num_rows, width), w.dtype)
    dh = dcolumn[state : state + size]
    dy, dc, keep = np.empty(size, w.dtype), np.empty(size, w.dtype), np.empty(size, w.dtype)
    for first in range(0, len(dy_BTH), lanes):
        group = first // lanes
        columns, cells, gates = columns_NX[group], cells_NX[group], gates_NX[group]
        dh[:] = 0
        read(dc_B1H, 0, first, lanes, dc)
        for t in range(num_steps - 1, -1, -1):
            slot, at, gates_at = t % slots, t * width * lanes, t * num_gates * size
            h_at = at + width * lanes + state
            ds = ds_all[slot * num_gates * size : (slot + 1) * num_gates * size]
            read(dy_BTH, t, first, lanes, dy)
            _add(dy, dh)
            _pass_gates(
                kind,
                gates[gates_at : gates_at + num_gates * size],
                columns[at + state : at + state + size],
                columns[h_at : h_at + size],
                cells[t * size : (t + 1) * size],
                cells[(t + 1) * size : (t + 2) * size],
                dy,
                dc,
                ds,
                keep,
            )
            multiply(back_P4, w, ds, 0, dcolumn, 0, lanes)
            if kind == GRU:
                _add(dh, keep)
            if len(dx_BTI) > 0:
                write(dcolumn, first, lanes, dx_BTI, t)
            if slot == 0:
                steps = min(slots, num_steps - t)
                add_outer(parts_P4, ds_all, num_rows, columns, at, width, steps, lanes, dw)
        write(dh, first, lanes, dh0_B1H, 0)
        write(dc, first, lanes, dc0_B1H, 0)
    unpack_gradient(dw, width, lanes, dw_GK)


@njit(**OPTIONS)
def _num_gates(kind):
    return 4 if kind >= GRU else 1


@njit(**OPTIONS)
def _apply_gates(kind, gates, h_before, h, c_before, c):
    """h_t and c_t. `gates` holds their sums, and then what the way back reads."""
    if kind == TANH:
        for i in range(h.shape[0]):
            h[i] = tanh(gates[i])
    elif kind == RECTIFIED:
        for i in range(h.shape[0]):
            h[i] = 0 if gates[i] < 0 else gates[i]
    elif kind == GRU:
        _apply_gru(gates, h_before, h)
    else:
        _apply_lstm(gates, c_before, c, h)


@njit(**OPTIONS)
def _pass_gates(kind, gates, h_before, h, c_before, c, dy, dc, ds, keep):
    """Gradients ds of the sums behind the gates, from dy of h_t and dc of c_t.

    dc becomes the gradient of c_{t−1}; `keep` that of h_{t−1} which passes by the weights.
    """
    one = dy.dtype.type(1)
    if kind == TANH:
        for i in range(ds.shape[0]):
            ds[i] = dy[i] * (one - h[i] * h[i])
    elif kind == RECTIFIED:
        for i in range(ds.shape[0]):
            ds[i] = dy[i] if h[i] > 0 else 0
    elif kind == GRU:
        _pass_gru(gates, h_before, dy, ds, keep)
    else:
        _pass_lstm(gates, c_before, c, dy, dc, ds)


@njit(**OPTIONS)
def _squash(a):
    """a = σ(a)."""
    half = a.dtype.type(0.5)
    for i in range(a.shape[0]):
        a[i] = half + half * tanh(half * a[i])


@njit(**OPTIONS)
def _add(a, b):
    """a += b."""
    for i in range(a.shape[0]):
        a[i] += b[i]


@njit(**OPTIONS)
def _quarters(gates, size):
    return gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]


@njit(**OPTIONS)
def _apply_gru(gates, h_before, h):
    """The gates are n, r, z and m, with which r is multiplied."""
    size = h.shape[0]
    n, r, z, m = _quarters(gates, size)
    _squash(gates[size : 3 * size])
    for i in range(size):
        n[i] = tanh(n[i] + r[i] * m[i])
    for i in range(size):
        h[i] = n[i] + z[i] * (h_before[i] - n[i])


@njit(**OPTIONS)
def _pass_gru(gates, h_before, dy, ds, keep):
    one, size = dy.dtype.type(1), dy.shape[0]
    n, r, z, m = _quarters(gates, size)
    dn, dr, dz, dm = _quarters(ds, size)
    for i in range(size):
        dz[i] = dy[i] * (h_before[i] - n[i]) * z[i] * (one - z[i])
    for i in range(size):
        dn[i] = dy[i] * (one - z[i]) * (one - n[i] * n[i])
    for i in range(size):
        dm[i] = dn[i] * r[i]
    for i in range(size):
        dr[i] = dm[i] * m[i] * (one - r[i])
    for i in range(size):
        keep[i] = dy[i] * z[i]


@njit(**OPTIONS)
def _apply_lstm(gates, c_before, c, h):
    """The gates are i, f, g, o."""
    size = h.shape[0]
    into, keep, g, o = _quarters(gates, size)
    _squash(gates[: 2 * size])
    _squash(o)
    for i in range(size):
        g[i] = tanh(g[i])
    for i in range(size):
        c[i] = keep[i] * c_before[i] + into[i] * g[i]
    for i in range(size):
        h[i] = o[i] * tanh(c[i])


@njit(**OPTIONS)
def _pass_lstm(gates, c_before, c, dy, dc, ds):
    one, size = dy.dtype.type(1), dy.shape[0]
    into, keep, g, o = _quarters(gates, size)
    ds_into, ds_keep, ds_g, ds_o = _quarters(ds, size)
    for i in range(size):
        ds_o[i] = tanh(c[i])
    for i in range(size):
        dc[i] += dy[i] * o[i] * (one - ds_o[i] * ds_o[i])
    for i in range(size):
        ds_o[i] *= dy[i] * o[i] * (one - o[i])
    for i in range(size):
        ds_into[i] = dc[i] * g[i] * into[i] * (one - into[i])
    for i in range(size):
        ds_g[i] = dc[i] * into[i] * (one - g[i] * g[i])
    for i in range(size):
        ds_keep[i] = dc[i] * c_before[i] * keep[i] * (one - keep[i])
    for i in range(size):
        dc[i] *= keep[i]
