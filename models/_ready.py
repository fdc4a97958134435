"""Makes Numba ready to load kernels, which takes half a second in each process.

Worker processes come from a server that has imported this module, so that none of them waits.
"""

import contextlib

with contextlib.suppress(ImportError):
    import numba

    numba.njit("void()")(
        lambda: None
    )  # the first function that is compiled loads the rest of Numba
