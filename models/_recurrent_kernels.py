"""Scans of recurrent layers over time on the CPU, forward and backward, compiled by Numba.

Each step multiplies [W b U] with the column [x_t; 1; h_{t−1}] of every sequence, applies the gates,
and writes h_t into the next column. The backward scan goes through the columns in reverse and adds
up the gradient of [W b U] on its way, so that no array of gradients over all steps exists: what a
step touches stays in the second-level cache.

Sequences are innermost, so that gates are long contiguous rows, which compile to vectors whatever
the number of units. Divisions follow NumPy (`error_model`), since a check for zero keeps a loop
from being vectorised.

Shape letters: B sequences, T steps, I inputs, H hidden units, G = gates × H, K = I + 1 + H.
"""

from typing import Any

import numpy as np
from numba import njit

from models._tanh import tanh

OPTIONS: dict[str, Any] = {
    # Sums may be reordered, so that they can be vectorised; NaN and Inf keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}


@njit(**OPTIONS)
def _multiply(w_GK, x_KB, out_GB):
    """out = W x."""
    if x_KB.shape[1] == 1:
        np.dot(w_GK, x_KB.reshape(-1), out_GB.reshape(-1))
    else:
        np.dot(w_GK, x_KB, out_GB)


@njit(**OPTIONS)
def _slots(num_steps, num_rows, batch_size, like):
    """Room for the gradients of the products of one step, or of all steps of a single sequence."""
    return np.empty((num_steps if batch_size == 1 else 1, num_rows, batch_size), like.dtype)


@njit(**OPTIONS)
def _add_outer(ds_GB, x_KB, product_GK, out_GK):
    """out += ds xᵀ, summed over the sequences. Of a single one `_sum_outer` takes all steps."""
    if x_KB.shape[1] > 1:
        np.dot(ds_GB, x_KB.T, product_GK)
        total, product = out_GK.reshape(-1), product_GK.reshape(-1)
        for i in range(total.shape[0]):
            total[i] += product[i]


@njit(**OPTIONS)
def _sum_outer(ds_TGB, columns_TKB, num_rows, out_GK):
    """out = Σ_t ds xᵀ for a single sequence, the first `num_rows` of the columns being x."""
    num_steps, num_products, batch_size = ds_TGB.shape
    if batch_size == 1:
        ds_TG = ds_TGB.reshape(num_steps, num_products)
        x_TK = columns_TKB.reshape(columns_TKB.shape[0], columns_TKB.shape[1])
        np.dot(ds_TG.T, np.ascontiguousarray(x_TK[:num_steps, :num_rows]), out_GK)


@njit(**OPTIONS)
def _read(source_BTI, t, out_IB):
    """out = the values of step t, sequences innermost."""
    for b in range(out_IB.shape[1]):
        for i in range(out_IB.shape[0]):
            out_IB[i, b] = source_BTI[b, t, i]


@njit(**OPTIONS)
def _write(values_HB, out_BTH, t):
    """The values of step t of `out`."""
    for b in range(values_HB.shape[1]):
        for i in range(values_HB.shape[0]):
            out_BTH[b, t, i] = values_HB[i, b]


@njit(**OPTIONS)
def _squash(a, s):
    """a = σ(s)."""
    half = s.dtype.type(0.5)
    for i in range(a.shape[0]):
        a[i] = half + half * tanh(half * s[i])


@njit(**OPTIONS)
def rnn_forward(x_BTI, w_HK, rectified, columns_TKB, s_HB, y_BTH):
    """`columns` has T + 1 entries: the first holds h0 and ones, all others hold ones."""
    num_inputs = x_BTI.shape[2]
    for t in range(x_BTI.shape[1]):
        _read(x_BTI, t, columns_TKB[t, :num_inputs])
        _multiply(w_HK, columns_TKB[t], s_HB)
        h_HB = columns_TKB[t + 1, num_inputs + 1 :]
        h, s = h_HB.reshape(-1), s_HB.reshape(-1)
        if rectified:
            for i in range(h.shape[0]):
                h[i] = 0 if s[i] < 0 else s[i]
        else:
            for i in range(h.shape[0]):
                h[i] = tanh(s[i])
        _write(h_HB, y_BTH, t)


@njit(**OPTIONS)
def rnn_backward(dy_BTH, u_KH, rectified, columns_TKB, dw_HK, dh_KB, dx_BTI):
    """Adds to `dw`. `dh` begins with the gradient of h_T, and ends with that of [x_1; 1; h0].

    `u` is [W b U] transposed; dx is written where it is not empty.
    """
    one = dy_BTH.dtype.type(1)
    num_units = dw_HK.shape[0]
    num_inputs = dw_HK.shape[1] - 1 - num_units
    ds_SHB = _slots(dy_BTH.shape[1], num_units, dh_KB.shape[1], dh_KB)
    product_HK = np.empty_like(dw_HK)
    dh = dh_KB[num_inputs + 1 :].reshape(-1)
    for t in range(dy_BTH.shape[1] - 1, -1, -1):
        ds_HB = ds_SHB[t % len(ds_SHB)]
        ds = ds_HB.reshape(-1)
        _read(dy_BTH, t, ds_HB)
        h = columns_TKB[t + 1, num_inputs + 1 :].reshape(-1)
        if rectified:
            for i in range(ds.shape[0]):
                ds[i] = ds[i] + dh[i] if h[i] > 0 else 0
        else:
            for i in range(ds.shape[0]):
                ds[i] = (ds[i] + dh[i]) * (one - h[i] * h[i])
        _add_outer(ds_HB, columns_TKB[t], product_HK, dw_HK)
        _to_the_step_before(u_KH, ds_HB, num_inputs, t, dh_KB, dx_BTI)
    _sum_outer(ds_SHB, columns_TKB, dw_HK.shape[1], dw_HK)


@njit(**OPTIONS)
def _to_the_step_before(u_KG, ds_GB, num_inputs, t, dh_KB, dx_BTI):
    """Gradient of the state before step t and, where it is wanted, of the inputs of step t."""
    if dx_BTI.shape[0] == 0:
        _multiply(u_KG[num_inputs + 1 :], ds_GB, dh_KB[num_inputs + 1 :])
    else:
        _multiply(u_KG, ds_GB, dh_KB)
        _write(dh_KB[:num_inputs], dx_BTI, t)


@njit(**OPTIONS)
def gru_forward(x_BTI, w_GK, wn_HJ, columns_TKB, gates_TGB, s_GB, n_HB, y_BTH):
    """`w` has the rows of r, z and of what r is multiplied with; `wn` is [W b] of n.

    `gates` becomes r, z, n and the product that r is multiplied with.
    """
    num_inputs = x_BTI.shape[2]
    size = n_HB.size
    for t in range(x_BTI.shape[1]):
        _read(x_BTI, t, columns_TKB[t, :num_inputs])
        _multiply(w_GK, columns_TKB[t], s_GB)
        _multiply(wn_HJ, columns_TKB[t, : num_inputs + 1], n_HB)
        gates, s, s_n = gates_TGB[t].reshape(-1), s_GB.reshape(-1), n_HB.reshape(-1)
        _squash(gates[: 2 * size], s[: 2 * size])
        r, z = gates[:size], gates[size : 2 * size]
        n, m = gates[2 * size : 3 * size], gates[3 * size :]
        m[:] = s[2 * size :]
        for i in range(size):
            n[i] = tanh(s_n[i] + r[i] * m[i])
        h_HB = columns_TKB[t + 1, num_inputs + 1 :]
        before, h = columns_TKB[t, num_inputs + 1 :].reshape(-1), h_HB.reshape(-1)
        for i in range(size):
            h[i] = n[i] + z[i] * (before[i] - n[i])
        _write(h_HB, y_BTH, t)


@njit(**OPTIONS)
def gru_backward(dy_BTH, u_KG, wn_IH, columns_TKB, gates_TGB, dw_GK, dwn_HJ, dh_KB, dx_BTI):
    """As `rnn_backward`; dwn is the gradient of [W b] of n, and `wn` is W of n transposed."""
    one = dy_BTH.dtype.type(1)
    num_units, num_inputs = dwn_HJ.shape[0], dwn_HJ.shape[1] - 1
    batch_size = dh_KB.shape[1]
    ds_SGB = _slots(dy_BTH.shape[1], 3 * num_units, batch_size, dh_KB)
    dn_SHB = _slots(dy_BTH.shape[1], num_units, batch_size, dh_KB)
    size = num_units * batch_size
    keep = np.empty(size, dh_KB.dtype)
    dx_IB = np.empty((num_inputs, batch_size), dh_KB.dtype)
    product_GK, product_HJ = np.empty_like(dw_GK), np.empty_like(dwn_HJ)
    dh = dh_KB[num_inputs + 1 :].reshape(-1)
    for t in range(dy_BTH.shape[1] - 1, -1, -1):
        ds_GB, dn_HB = ds_SGB[t % len(ds_SGB)], dn_SHB[t % len(dn_SHB)]
        ds, dn = ds_GB.reshape(-1), dn_HB.reshape(-1)
        ds_r, ds_z, ds_m = ds[:size], ds[size : 2 * size], ds[2 * size :]
        gates = gates_TGB[t].reshape(-1)
        r, z = gates[:size], gates[size : 2 * size]
        n, m = gates[2 * size : 3 * size], gates[3 * size :]
        before = columns_TKB[t, num_inputs + 1 :].reshape(-1)
        _read(dy_BTH, t, dn_HB)
        for i in range(size):
            dh[i] += dn[i]
        for i in range(size):
            ds_z[i] = dh[i] * (before[i] - n[i]) * z[i] * (one - z[i])
        for i in range(size):
            dn[i] = dh[i] * (one - z[i]) * (one - n[i] * n[i])
        for i in range(size):
            ds_m[i] = dn[i] * r[i]
        for i in range(size):
            ds_r[i] = ds_m[i] * m[i] * (one - r[i])
        for i in range(size):
            keep[i] = dh[i] * z[i]
        _add_outer(ds_GB, columns_TKB[t], product_GK, dw_GK)
        _add_outer(dn_HB, columns_TKB[t, : num_inputs + 1], product_HJ, dwn_HJ)
        _to_the_step_before(u_KG, ds_GB, num_inputs, t, dh_KB, dx_BTI)
        for i in range(size):
            dh[i] += keep[i]
        if dx_BTI.shape[0] > 0:
            _multiply(wn_IH, dn_HB, dx_IB)
            for b in range(batch_size):
                for i in range(num_inputs):
                    dx_BTI[b, t, i] += dx_IB[i, b]
    _sum_outer(ds_SGB, columns_TKB, dw_GK.shape[1], dw_GK)
    _sum_outer(dn_SHB, columns_TKB, num_inputs + 1, dwn_HJ)


@njit(**OPTIONS)
def lstm_forward(x_BTI, w_GK, columns_TKB, gates_TGB, c_THB, s_GB, y_BTH):
    """`gates` becomes i, f, g, o. `c` has T + 1 entries, the first of which holds c0."""
    num_inputs = x_BTI.shape[2]
    size = c_THB[0].size
    for t in range(x_BTI.shape[1]):
        _read(x_BTI, t, columns_TKB[t, :num_inputs])
        _multiply(w_GK, columns_TKB[t], s_GB)
        gates, s = gates_TGB[t].reshape(-1), s_GB.reshape(-1)
        _squash(gates[: 2 * size], s[: 2 * size])
        _squash(gates[3 * size :], s[3 * size :])
        into, keep = gates[:size], gates[size : 2 * size]
        g, o, s_g = gates[2 * size : 3 * size], gates[3 * size :], s[2 * size : 3 * size]
        for i in range(size):
            g[i] = tanh(s_g[i])
        before, c = c_THB[t].reshape(-1), c_THB[t + 1].reshape(-1)
        for i in range(size):
            c[i] = keep[i] * before[i] + into[i] * g[i]
        h_HB = columns_TKB[t + 1, num_inputs + 1 :]
        h = h_HB.reshape(-1)
        for i in range(size):
            h[i] = o[i] * tanh(c[i])
        _write(h_HB, y_BTH, t)


@njit(**OPTIONS)
def lstm_backward(dy_BTH, u_KG, columns_TKB, gates_TGB, c_THB, dw_GK, dh_KB, dc_HB, dx_BTI):
    """As `rnn_backward`; `dc` begins with the gradient of c_T and ends with that of c0."""
    one = dy_BTH.dtype.type(1)
    num_units, batch_size = dc_HB.shape
    num_inputs = dw_GK.shape[1] - 1 - num_units
    ds_SGB = _slots(dy_BTH.shape[1], 4 * num_units, batch_size, dh_KB)
    dy_HB = np.empty((num_units, batch_size), dh_KB.dtype)
    product_GK = np.empty_like(dw_GK)
    size = dc_HB.size
    dc, dy = dc_HB.reshape(-1), dy_HB.reshape(-1)
    dh = dh_KB[num_inputs + 1 :].reshape(-1)
    for t in range(dy_BTH.shape[1] - 1, -1, -1):
        ds_GB = ds_SGB[t % len(ds_SGB)]
        ds = ds_GB.reshape(-1)
        ds_into, ds_keep = ds[:size], ds[size : 2 * size]
        ds_g, ds_o = ds[2 * size : 3 * size], ds[3 * size :]
        gates = gates_TGB[t].reshape(-1)
        into, keep = gates[:size], gates[size : 2 * size]
        g, o = gates[2 * size : 3 * size], gates[3 * size :]
        before, c = c_THB[t].reshape(-1), c_THB[t + 1].reshape(-1)
        _read(dy_BTH, t, dy_HB)
        for i in range(size):
            dy[i] = (dy[i] + dh[i]) * o[i]
        for i in range(size):
            ds_o[i] = tanh(c[i])
        for i in range(size):
            dc[i] += dy[i] * (one - ds_o[i] * ds_o[i])
        for i in range(size):
            ds_o[i] *= dy[i] * (one - o[i])
        for i in range(size):
            ds_into[i] = dc[i] * g[i] * into[i] * (one - into[i])
        for i in range(size):
            ds_g[i] = dc[i] * into[i] * (one - g[i] * g[i])
        for i in range(size):
            ds_keep[i] = dc[i] * before[i] * keep[i] * (one - keep[i])
        for i in range(size):
            dc[i] *= keep[i]
        _add_outer(ds_GB, columns_TKB[t], product_GK, dw_GK)
        _to_the_step_before(u_KG, ds_GB, num_inputs, t, dh_KB, dx_BTI)
    _sum_outer(ds_SGB, columns_TKB, dw_GK.shape[1], dw_GK)
