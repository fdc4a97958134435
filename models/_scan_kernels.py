"""The loop of `_scan` on the CPU, compiled by Numba.

Shape letters: B sequences, T steps, H numbers of the state.
"""

from numba import njit


@njit(error_model="numpy", nogil=True, cache=True, fastmath={"contract"})
def scan(a_BTH, b_BTH, h_BTH, back):
    """h_t = a_t ⊙ h_{t−1} + b_t from zeros; with `back` the last step is the first one."""
    num_sequences, num_steps, num_units = b_BTH.shape
    for sequence in range(num_sequences):
        a_TH, b_TH, h_TH = a_BTH[sequence], b_BTH[sequence], h_BTH[sequence]
        before = -1
        for n in range(num_steps):
            t = num_steps - 1 - n if back else n
            if before < 0:
                for unit in range(num_units):
                    h_TH[t, unit] = b_TH[t, unit]
            else:
                for unit in range(num_units):
                    h_TH[t, unit] = a_TH[t, unit] * h_TH[before, unit] + b_TH[t, unit]
            before = t
