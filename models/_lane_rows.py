"""Further inner loops over vector registers, as those in `_lanes`: per-lane sums and factors.

An activation is (T, C, 16): each channel of a step is a row of 16 lanes.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types

from models._lanes import (
    _HALF,
    LANES,
    OPTIONS,
    _address,
    _intrinsic,
    _load,
    _Loop,
    _outer_sums,
    _place,
    _product_added,
    _vector,
)

PARTS = _HALF
"""Parts in which `add_outer_lanes` keeps each sum."""


@_intrinsic(prefer_literal=True)
def _add_outer_lanes(
    typing, num_rows, num_columns, a, a_at, a_step, b, b_at, b_step, steps, c, c_at
):
    """As `_add_outer_products`, but c keeps 8 lanes of each sum: c[o, i, 8]."""
    rows, columns = num_rows.literal_value, num_columns.literal_value
    i64 = types.int64
    signature = types.void(num_rows, num_columns, a, i64, i64, b, i64, i64, i64, c, i64)

    def generate(context, builder, signature, arguments):
        _, _, a, a_at, a_step, b, b_at, b_step, steps, c, c_at = arguments
        a = _address(context, builder, signature.args[2], a, a_at)
        b = _address(context, builder, signature.args[5], b, b_at)
        c = _address(context, builder, signature.args[9], c, c_at)
        sums = _outer_sums(builder, rows, columns, (a, a_step), (b, b_step), steps)
        for n, total in enumerate(sums):
            total = builder.fadd(_load(builder, c, n * _HALF), total)
            builder.store(total, _vector(builder, c, n * _HALF), align=4)
        return context.get_dummy_value()

    return signature, generate


def _rows_intrinsic(adds: bool) -> Any:
    @_intrinsic
    def by_lane(typing, x, x_at, factor, factor_at, count, out, out_at):
        i64 = types.int64
        signature = types.void(x, i64, factor, i64, i64, out, i64)

        def generate(context, builder, signature, arguments):
            x, x_at, factor, factor_at, count, out, out_at = arguments
            x = _address(context, builder, signature.args[0], x, x_at)
            factor = _address(context, builder, signature.args[2], factor, factor_at)
            out = _address(context, builder, signature.args[5], out, out_at)
            factors = [_load(builder, factor, half) for half in (0, _HALF)]
            loop = _Loop(builder, count, [x, out])
            x, out = loop.values
            for half, value in zip((0, _HALF), factors, strict=True):
                row = _load(builder, x, half)
                if adds:
                    row = _product_added(builder, row, value, _load(builder, out, half))
                else:
                    row = builder.fmul(row, value)
                builder.store(row, _vector(builder, out, half), align=4)
            loop.finish([_place(builder, x, LANES), _place(builder, out, LANES)])
            return context.get_dummy_value()

        return signature, generate

    return by_lane


scale_rows = _rows_intrinsic(adds=False)
"""out[i] = x[i] · factor for `count` rows; the factor differs between lanes."""
add_scaled_rows = _rows_intrinsic(adds=True)
"""out[i] += x[i] · factor for `count` rows; the factor differs between lanes."""


@_intrinsic
def dot_rows(typing, a, a_at, b, b_at, count, out, out_at):
    """out = Σ_i a[i] b[i] per lane."""
    i64 = types.int64
    signature = types.void(a, i64, b, i64, i64, out, i64)

    def generate(context, builder, signature, arguments):
        a, a_at, b, b_at, count, out, out_at = arguments
        a = _address(context, builder, signature.args[0], a, a_at)
        b = _address(context, builder, signature.args[2], b, b_at)
        out = _address(context, builder, signature.args[5], out, out_at)
        zero = ir.Constant(ir.VectorType(a.type.pointee, _HALF), [a.type.pointee(0.0)] * _HALF)
        loop = _Loop(builder, count, [a, b, zero, zero])
        a, b, *sums = loop.values
        sums = [
            _product_added(builder, _load(builder, a, half), _load(builder, b, half), total)
            for half, total in zip((0, _HALF), sums, strict=True)
        ]
        steps = [_place(builder, a, LANES), _place(builder, b, LANES)]
        _, _, *sums = loop.finish([*steps, *sums])
        for half, total in zip((0, _HALF), sums, strict=True):
            builder.store(total, _vector(builder, out, half), align=4)
        return context.get_dummy_value()

    return signature, generate


@njit(**OPTIONS)
def add_outer_lanes(rows, columns, a, a_at, a_step, b, b_at, b_step, steps, c, c_at):
    """`_add_outer_lanes` for numbers of rows and columns that are known only when it runs."""
    if columns == 2:
        if rows == 6:
            _add_outer_lanes(6, 2, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
        elif rows == 5:
            _add_outer_lanes(5, 2, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
        elif rows == 4:
            _add_outer_lanes(4, 2, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
        elif rows == 3:
            _add_outer_lanes(3, 2, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
        elif rows == 2:
            _add_outer_lanes(2, 2, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
        else:
            _add_outer_lanes(1, 2, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
    elif rows == 6:
        _add_outer_lanes(6, 1, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
    elif rows == 5:
        _add_outer_lanes(5, 1, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
    elif rows == 4:
        _add_outer_lanes(4, 1, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
    elif rows == 3:
        _add_outer_lanes(3, 1, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
    elif rows == 2:
        _add_outer_lanes(2, 1, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
    else:
        _add_outer_lanes(1, 1, a, a_at, a_step, b, b_at, b_step, steps, c, c_at)
