"""Scans of recurrent layers over time on the CPU, forward and backward, compiled by Numba.

Each step multiplies [W b U] with the column [x_t; 1; h_{t−1}], applies the gates, and writes h_t
into the next column. Sixteen sequences, or a single one, go through all steps before the next ones,
so that what a step touches stays in the cache; their gates are long contiguous rows, which compile
to vectors. The backward scan adds up the gradient of the weights some steps at a time.

Shape letters: B sequences, T steps, I inputs, H hidden units, G = gates × H, K = I + 1 + H,
N groups of sequences, P parts of the weights (see `_recurrent_products`). Flat arrays of a group
have X numbers: (T + 1, width, lanes) columns, (T, G, lanes) gates, and (T + 1, H, lanes) cells.
"""

import numpy as np
from numba import njit

from models._lanes import OPTIONS
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


@njit(**OPTIONS)
def _squash(a):
    """a = σ(a)."""
    half = a.dtype.type(0.5)
    for i in range(a.shape[0]):
        a[i] = half + half * tanh(half * a[i])


@njit(**OPTIONS)
def _squash_tanh(a):
    """a = tanh(a)."""
    for i in range(a.shape[0]):
        a[i] = tanh(a[i])


@njit(**OPTIONS)
def _add(a, b):
    """a += b."""
    for i in range(a.shape[0]):
        a[i] += b[i]


@njit(**OPTIONS)
def _step_back(parts_P4, w, ds, t, lanes, first, dcolumn, dx_BTI):
    """Gradient of the state before step t and, where it is wanted, of the inputs of step t."""
    multiply(parts_P4, w, ds, 0, dcolumn, 0, lanes)
    if len(dx_BTI) > 0:
        write(dcolumn, first, lanes, dx_BTI, t)


@njit(**OPTIONS)
def rnn_forward(x_BTI, h0_B1H, parts_P4, w, rectified, lanes, width, columns_NX, y_BTH):
    num_steps, num_inputs, num_units = x_BTI.shape[1], x_BTI.shape[2], y_BTH.shape[2]
    state, size = (num_inputs + 1) * lanes, num_units * lanes
    for n in range(len(columns_NX)):
        columns, first = columns_NX[n], n * lanes
        read(h0_B1H, 0, first, lanes, columns[state:])
        for t in range(num_steps):
            at = t * width * lanes
            start_column(x_BTI, t, first, lanes, columns[at:])
            h_at = at + width * lanes + state
            multiply(parts_P4, w, columns, at, columns, h_at, lanes)
            h = columns[h_at : h_at + size]
            if rectified:
                for i in range(size):
                    h[i] = 0 if h[i] < 0 else h[i]
            else:
                _squash_tanh(h)
            write(h, first, lanes, y_BTH, t)


@njit(**OPTIONS)
def rnn_backward(
    dy_BTH, parts_P4, back_P4, w, rectified, lanes, width, columns_NX, dw_GK, dx_BTI, dh0_B1H
):
    """Gradients; that of x is written where its array is not empty. `w` is transposed."""
    one = dy_BTH.dtype.type(1)
    num_steps, num_units = dy_BTH.shape[1], dy_BTH.shape[2]
    state, size, slots = (dw_GK.shape[1] - num_units) * lanes, num_units * lanes, num_slots(lanes)
    ds_all = np.empty(slots * size, w.dtype)
    dcolumn = np.empty(room(width, lanes, w), w.dtype)
    dh = dcolumn[state : state + size]
    dw = np.zeros(gradient_room(num_units, width), w.dtype)
    for n in range(len(columns_NX)):
        columns, first = columns_NX[n], n * lanes
        dh[:] = 0
        for t in range(num_steps - 1, -1, -1):
            slot, at = t % slots, t * width * lanes
            ds = ds_all[slot * size : (slot + 1) * size]
            h = columns[at + width * lanes + state : at + width * lanes + state + size]
            read(dy_BTH, t, first, lanes, ds)
            if rectified:
                for i in range(size):
                    ds[i] = ds[i] + dh[i] if h[i] > 0 else 0
            else:
                for i in range(size):
                    ds[i] = (ds[i] + dh[i]) * (one - h[i] * h[i])
            _step_back(back_P4, w, ds, t, lanes, first, dcolumn, dx_BTI)
            if slot == 0:
                steps = min(slots, num_steps - t)
                add_outer(parts_P4, ds_all, num_units, columns, at, width, steps, lanes, dw)
        write(dh, first, lanes, dh0_B1H, 0)
    unpack_gradient(dw, width, lanes, dw_GK)


@njit(**OPTIONS)
def gru_forward(x_BTI, h0_B1H, parts_P4, w, lanes, width, columns_NX, gates_NX, y_BTH):
    """The gates are n, r, z and what r is multiplied with."""
    num_steps, num_inputs, num_units = x_BTI.shape[1], x_BTI.shape[2], y_BTH.shape[2]
    state, size = (num_inputs + 1) * lanes, num_units * lanes
    for group in range(len(columns_NX)):
        columns, first = columns_NX[group], group * lanes
        read(h0_B1H, 0, first, lanes, columns[state:])
        for t in range(num_steps):
            at = t * width * lanes
            start_column(x_BTI, t, first, lanes, columns[at:])
            multiply(parts_P4, w, columns, at, gates_NX[group], t * 4 * size, lanes)
            gates = gates_NX[group, t * 4 * size : (t + 1) * 4 * size]
            n, r, z, m = _quarters(gates, size)
            _squash(gates[size : 3 * size])
            for i in range(size):
                n[i] = tanh(n[i] + r[i] * m[i])
            before = columns[at + state : at + state + size]
            h = columns[at + width * lanes + state : at + width * lanes + state + size]
            for i in range(size):
                h[i] = n[i] + z[i] * (before[i] - n[i])
            write(h, first, lanes, y_BTH, t)


@njit(**OPTIONS)
def _quarters(gates, size):
    return gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]


@njit(**OPTIONS)
def gru_backward(
    dy_BTH, parts_P4, back_P4, w, lanes, width, columns_NX, gates_NX, dw_GK, dx_BTI, dh0_B1H
):
    """As `rnn_backward`."""
    one = dy_BTH.dtype.type(1)
    num_steps, num_units = dy_BTH.shape[1], dy_BTH.shape[2]
    state, size, slots = (dw_GK.shape[1] - num_units) * lanes, num_units * lanes, num_slots(lanes)
    ds_all = np.empty(slots * 4 * size, w.dtype)
    dcolumn = np.empty(room(width, lanes, w), w.dtype)
    dh, keep = dcolumn[state : state + size], np.empty(size, w.dtype)
    dw = np.zeros(gradient_room(4 * num_units, width), w.dtype)
    for group in range(len(columns_NX)):
        columns, first = columns_NX[group], group * lanes
        dh[:] = 0
        for t in range(num_steps - 1, -1, -1):
            slot, at = t % slots, t * width * lanes
            ds = ds_all[slot * 4 * size : (slot + 1) * 4 * size]
            dn, dr, dz, dm = _quarters(ds, size)
            n, r, z, m = _quarters(gates_NX[group, t * 4 * size : (t + 1) * 4 * size], size)
            before = columns[at + state : at + state + size]
            read(dy_BTH, t, first, lanes, dn)
            _add(dh, dn)
            for i in range(size):
                dz[i] = dh[i] * (before[i] - n[i]) * z[i] * (one - z[i])
            for i in range(size):
                dn[i] = dh[i] * (one - z[i]) * (one - n[i] * n[i])
            for i in range(size):
                dm[i] = dn[i] * r[i]
            for i in range(size):
                dr[i] = dm[i] * m[i] * (one - r[i])
            for i in range(size):
                keep[i] = dh[i] * z[i]
            _step_back(back_P4, w, ds, t, lanes, first, dcolumn, dx_BTI)
            _add(dh, keep)
            if slot == 0:
                steps = min(slots, num_steps - t)
                add_outer(parts_P4, ds_all, 4 * num_units, columns, at, width, steps, lanes, dw)
        write(dh, first, lanes, dh0_B1H, 0)
    unpack_gradient(dw, width, lanes, dw_GK)


@njit(**OPTIONS)
def lstm_forward(
    x_BTI, h0_B1H, c0_B1H, parts_P4, w, lanes, width, columns_NX, gates_NX, cells_NX, y_BTH, c_B1H
):
    """The gates are i, f, g, o. `c` is the last cell."""
    num_steps, num_inputs, num_units = x_BTI.shape[1], x_BTI.shape[2], y_BTH.shape[2]
    state, size = (num_inputs + 1) * lanes, num_units * lanes
    for n in range(len(columns_NX)):
        columns, cells, first = columns_NX[n], cells_NX[n], n * lanes
        read(h0_B1H, 0, first, lanes, columns[state:])
        read(c0_B1H, 0, first, lanes, cells)
        for t in range(num_steps):
            at = t * width * lanes
            start_column(x_BTI, t, first, lanes, columns[at:])
            multiply(parts_P4, w, columns, at, gates_NX[n], t * 4 * size, lanes)
            gates = gates_NX[n, t * 4 * size : (t + 1) * 4 * size]
            into, keep, g, o = _quarters(gates, size)
            _squash(gates[: 2 * size])
            _squash_tanh(g)
            _squash(o)
            before, c = cells[t * size : (t + 1) * size], cells[(t + 1) * size : (t + 2) * size]
            for i in range(size):
                c[i] = keep[i] * before[i] + into[i] * g[i]
            h = columns[at + width * lanes + state : at + width * lanes + state + size]
            for i in range(size):
                h[i] = o[i] * tanh(c[i])
            write(h, first, lanes, y_BTH, t)
        write(cells[num_steps * size :], first, lanes, c_B1H, 0)


@njit(**OPTIONS)
def lstm_backward(
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
    """As `rnn_backward`."""
    num_steps, num_units = dy_BTH.shape[1], dy_BTH.shape[2]
    state, size, slots = (dw_GK.shape[1] - num_units) * lanes, num_units * lanes, num_slots(lanes)
    ds_all = np.empty(slots * 4 * size, w.dtype)
    dcolumn = np.empty(room(width, lanes, w), w.dtype)
    dh, dc, dy = dcolumn[state : state + size], np.empty(size, w.dtype), np.empty(size, w.dtype)
    dw = np.zeros(gradient_room(4 * num_units, width), w.dtype)
    for n in range(len(columns_NX)):
        columns, cells, first = columns_NX[n], cells_NX[n], n * lanes
        dh[:] = 0
        read(dc_B1H, 0, first, lanes, dc)
        for t in range(num_steps - 1, -1, -1):
            slot, at = t % slots, t * width * lanes
            ds = ds_all[slot * 4 * size : (slot + 1) * 4 * size]
            gates = gates_NX[n, t * 4 * size : (t + 1) * 4 * size]
            before, c = cells[t * size : (t + 1) * size], cells[(t + 1) * size : (t + 2) * size]
            read(dy_BTH, t, first, lanes, dy)
            _add(dy, dh)
            _lstm_gates_back(gates, before, c, dy, dc, ds)
            _step_back(back_P4, w, ds, t, lanes, first, dcolumn, dx_BTI)
            if slot == 0:
                steps = min(slots, num_steps - t)
                add_outer(parts_P4, ds_all, 4 * num_units, columns, at, width, steps, lanes, dw)
        write(dh, first, lanes, dh0_B1H, 0)
        write(dc, first, lanes, dc0_B1H, 0)
    unpack_gradient(dw, width, lanes, dw_GK)


@njit(**OPTIONS)
def _lstm_gates_back(gates, before, c, dy, dc, ds):
    """Gradients of the sums behind the gates, from dy of h_t and dc of c_t; dc becomes that of
    c_{t−1}."""
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
        ds_keep[i] = dc[i] * before[i] * keep[i] * (one - keep[i])
    for i in range(size):
        dc[i] *= keep[i]
