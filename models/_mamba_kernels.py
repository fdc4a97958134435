"""Training of the Mamba mixer on the CPU, forward and backward, compiled by Numba.

The forward scan keeps every `SEGMENT`-th state. The backward scan takes one segment of one sequence
at a time and computes its states again, so that what it touches stays in the second-level cache.
Units are innermost and padded to whole vectors.

Shape letters: B sequences, T steps, D units, N numbers of a unit's state, K taps, S =
N × units with padding, P units with padding, C segments.
"""

from typing import Any

import numpy as np
from numba import njit

from models._exp import exp, softplus
from models._tanh import tanh

OPTIONS: dict[str, Any] = {
    # Sums may be reordered, so that they can be vectorised; NaN and Inf keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
SEGMENT = 32
"""Steps between two kept states."""


@njit(**OPTIONS)
def sigmoid(x):
    half = type(x)(0.5)
    return half + half * tanh(half * x)


@njit(**OPTIONS)
def conv_forward(x_BSD, w_KD, bias_D, y_BTD):
    """y = SiLU of a causal convolution with K taps per unit; x has K − 1 further steps before."""
    num_taps, num_units = w_KD.shape
    sums = np.empty(num_units, x_BSD.dtype)
    for b in range(y_BTD.shape[0]):
        for t in range(y_BTD.shape[1]):
            for d in range(num_units):
                sums[d] = bias_D[d]
            for k in range(num_taps):
                x, w = x_BSD[b, t + k], w_KD[k]
                for d in range(num_units):
                    sums[d] += w[d] * x[d]
            y = y_BTD[b, t]
            for d in range(num_units):
                y[d] = sums[d] * sigmoid(sums[d])


@njit(**OPTIONS)
def conv_backward(dy_BTD, x_BSD, w_KD, bias_D, dx_BSD, dw_KD, dbias_D):
    """Adds to dx, dw and dbias."""
    num_taps, num_units = w_KD.shape
    sums = np.empty(num_units, x_BSD.dtype)
    one = x_BSD.dtype.type(1)
    for b in range(dy_BTD.shape[0]):
        for t in range(dy_BTD.shape[1]):
            for d in range(num_units):
                sums[d] = bias_D[d]
            for k in range(num_taps):
                x, w = x_BSD[b, t + k], w_KD[k]
                for d in range(num_units):
                    sums[d] += w[d] * x[d]
            dy = dy_BTD[b, t]
            for d in range(num_units):
                gate = sigmoid(sums[d])
                sums[d] = dy[d] * gate * (one + sums[d] * (one - gate))
            for d in range(num_units):
                dbias_D[d] += sums[d]
            for k in range(num_taps):
                x, w = x_BSD[b, t + k], w_KD[k]
                dx, dw = dx_BSD[b, t + k], dw_KD[k]
                for d in range(num_units):
                    dx[d] += sums[d] * w[d]
                for d in range(num_units):
                    dw[d] += sums[d] * x[d]


def kept_shape(batch_size: int, num_steps: int, num_units: int, num_numbers: int) -> Any:
    """Shape of the kept states."""
    return batch_size, -(-num_steps // SEGMENT), num_numbers * _padded(num_units)


@njit(**OPTIONS)
def _padded(num_units):
    return (num_units + 7) // 8 * 8


@njit(**OPTIONS)
def _widened(values_ND):
    """A flat copy whose rows are padded with zeros to whole vectors, and the length of a row."""
    num_rows, num_units = values_ND.shape
    wide_NP = np.zeros((num_rows, _padded(num_units)), values_ND.dtype)
    wide_NP[:, :num_units] = values_ND
    return wide_NP.reshape(-1), wide_NP.shape[1]


@njit(**OPTIONS)
def rates(raw, u, delta, x):
    """delta = softplus of the raw rates, and x = delta ⊙ u."""
    for d in range(len(u)):
        delta[d] = softplus(raw[d])
    for d in range(len(u)):
        x[d] = delta[d] * u[d]


@njit(**OPTIONS)
def _repeat(values, out):
    """Every row of `out` becomes `values`."""
    size = len(values)
    for start in range(0, len(out), size):
        row = out[start : start + size]
        for d in range(size):
            row[d] = values[d]


@njit(**OPTIONS)
def advance(delta, a, b, c, x, before, factors, after, total):
    """after = e^(delta a) ⊙ before + b x, and total = Σ_n c after. The factors are stored too."""
    size = len(x)
    _repeat(delta, factors)
    for i in range(len(a)):
        factors[i] = exp(factors[i] * a[i])
    total[:] = 0
    for n in range(len(b)):
        row = slice(n * size, (n + 1) * size)
        factor, old, new, b_n, c_n = factors[row], before[row], after[row], b[n], c[n]
        for d in range(size):
            new[d] = factor[d] * old[d] + b_n * x[d]
        for d in range(size):
            total[d] += c_n * new[d]


@njit(**OPTIONS)
def scan_forward(u_BTD, raw_BTD, a_ND, b_BTN, c_BTN, skip_D, z_BTD, h_BND, kept_BCS, y_BTD):
    """Outputs of the selective scan; `h` begins as the state before and ends as the last one.

    The state before every segment is kept.
    """
    num_sequences, num_steps, num_units = u_BTD.shape
    a, size = _widened(a_ND)
    factors, delta = np.empty_like(a), np.zeros(size, u_BTD.dtype)
    x, total = np.zeros_like(delta), np.empty_like(delta)
    for sequence in range(num_sequences):
        h, _ = _widened(h_BND[sequence])
        after = np.empty_like(h)  # another array than h, so that loops compile to vectors
        for t in range(num_steps):
            u, z, y = u_BTD[sequence, t], z_BTD[sequence, t], y_BTD[sequence, t]
            b, c = b_BTN[sequence, t], c_BTN[sequence, t]
            if t % SEGMENT == 0:
                kept_BCS[sequence, t // SEGMENT] = h
            rates(raw_BTD[sequence, t], u, delta, x)
            advance(delta, a, b, c, x, h, factors, after, total)
            h, after = after, h
            for d in range(num_units):
                total[d] += skip_D[d] * u[d]
            for d in range(num_units):
                y[d] = total[d] * z[d] * sigmoid(z[d])
        h_BND[sequence] = h.reshape(-1, size)[:, :num_units]


@njit(**OPTIONS)
def _ungate(dy, total, z, dtotal, dz):
    """Gradients of y = total ⊙ SiLU(z)."""
    one = z.dtype.type(1)
    for d in range(len(dy)):
        gate = sigmoid(z[d])
        dtotal[d] = dy[d] * z[d] * gate
        dz[d] = dy[d] * total[d] * gate * (one + z[d] * (one - gate))


@njit(**OPTIONS)
def _retreat(delta, a, b, c, x, h_before, factors, h, dtotal, dh, da, db, dc, dx, ddelta, w):
    """Gradients of `advance`. `dh` begins as that of `after` and ends as that of `before`."""
    size = len(x)
    dx[:] = 0
    ddelta[:] = 0
    for n in range(len(b)):
        row = slice(n * size, (n + 1) * size)
        gradient, state, c_n = dh[row], h[row], c[n]
        of_b, of_c = b.dtype.type(0), b.dtype.type(0)
        for d in range(size):
            gradient[d] += c_n * dtotal[d]
            of_b += gradient[d] * x[d]
            of_c += dtotal[d] * state[d]
        db[n], dc[n] = of_b, of_c
        b_n = b[n]
        for d in range(size):
            dx[d] += b_n * gradient[d]
    for i in range(len(dh)):
        dh[i] *= factors[i]
    _repeat(delta, w)
    for i in range(len(dh)):
        da[i] += dh[i] * h_before[i] * w[i]
    for n in range(len(b)):
        row = slice(n * size, (n + 1) * size)
        gradient, state, rate = dh[row], h_before[row], a[row]
        for d in range(size):
            ddelta[d] += gradient[d] * state[d] * rate[d]


@njit(**OPTIONS)
def scan_backward(
    dy_BTD,
    u_BTD,
    raw_BTD,
    a_ND,
    b_BTN,
    c_BTN,
    skip_D,
    z_BTD,
    kept_BCS,
    du_BTD,
    draw_BTD,
    da_ND,
    db_BTN,
    dc_BTN,
    dskip_D,
    dz_BTD,
    dh_BND,
):
    """Gradients of `scan_forward`; `dh` begins as that of the last state. Adds to da and dskip."""
    num_sequences, num_steps, num_units = u_BTD.shape
    a, size = _widened(a_ND)
    h_TS = np.empty((SEGMENT + 1, len(a)), a.dtype)
    factors_TS, total_TP = np.empty_like(h_TS), np.empty((SEGMENT, size), a.dtype)
    delta_TP, x_TP = np.zeros_like(total_TP), np.zeros_like(total_TP)
    da, w = np.zeros_like(a), np.empty_like(a)
    dtotal = np.zeros(size, a.dtype)
    dx, ddelta = np.empty_like(dtotal), np.empty_like(dtotal)
    for sequence in range(num_sequences):
        dh, _ = _widened(dh_BND[sequence])
        for segment in range(kept_BCS.shape[1] - 1, -1, -1):
            start = segment * SEGMENT
            h_TS[0] = kept_BCS[sequence, segment]
            steps = min(SEGMENT, num_steps - start)
            for n in range(steps):
                t, delta, x = start + n, delta_TP[n], x_TP[n]
                b, c = b_BTN[sequence, t], c_BTN[sequence, t]
                rates(raw_BTD[sequence, t], u_BTD[sequence, t], delta, x)
                advance(delta, a, b, c, x, h_TS[n], factors_TS[n], h_TS[n + 1], total_TP[n])
            for n in range(steps - 1, -1, -1):
                t, delta, x, total = start + n, delta_TP[n], x_TP[n], total_TP[n]
                u, raw, z = u_BTD[sequence, t], raw_BTD[sequence, t], z_BTD[sequence, t]
                b, c = b_BTN[sequence, t], c_BTN[sequence, t]
                db, dc = db_BTN[sequence, t], dc_BTN[sequence, t]
                du, draw = du_BTD[sequence, t], draw_BTD[sequence, t]
                for d in range(num_units):
                    total[d] += skip_D[d] * u[d]
                _ungate(dy_BTD[sequence, t], total, z, dtotal, dz_BTD[sequence, t])
                _retreat(
                    *(delta, a, b, c, x, h_TS[n], factors_TS[n], h_TS[n + 1]),
                    *(dtotal, dh, da, db, dc, dx, ddelta, w),
                )
                for d in range(num_units):
                    dskip_D[d] += dtotal[d] * u[d]
                for d in range(num_units):
                    du[d] = dx[d] * delta[d] + dtotal[d] * skip_D[d]
                for d in range(num_units):
                    draw[d] = (ddelta[d] + dx[d] * u[d]) * sigmoid(raw[d])
        dh_BND[sequence] = dh.reshape(-1, size)[:, :num_units]
    da_ND += da.reshape(-1, size)[:, :num_units]
