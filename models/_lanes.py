"""Inner loops over vector registers, written in LLVM's language, for kernels on the CPU.

Sixteen sequences are innermost in memory, one per lane of a vector register: an activation is
(T, C, 16). All sizes, dilations and strides then compile to the same two loops, which keep their
sums in registers. Numba has no type for vector registers, hence LLVM's language:

- `_sum_products` computes one step of a convolution for up to six output channels;
- `_add_outer_products` sums the gradient of a weight over steps and sequences.

Shape letters: T steps, C channels.
"""

from typing import Any

from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils

LANES = 16
"""Sequences that are computed together."""
_HALF = LANES // 2
"""Numbers in one LLVM vector: with two per channel, sums and operands fill 16 registers."""
MOST_ROWS = 6
"""Output channels whose sums fit into the registers."""
MOST_COLUMNS = 2
MOST_POSITIONS = 32
"""Steps whose weight gradients are summed at a time, so that both operands stay in the cache."""
# Sums may be reordered and fused with products; NaN and Inf keep their meaning.
_FLAGS = ("reassoc", "contract", "nsz", "arcp")
OPTIONS: dict[str, Any] = {
    "fastmath": set(_FLAGS),
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
_I64 = ir.IntType(64)
_intrinsic: Any = extending.intrinsic  # its type hides that the compiler adds the first argument


class _Loop:
    """A loop in LLVM's language: `count` turns, with values that each turn hands to the next."""

    def __init__(self, builder: Any, count: Any, carried: list[Any]) -> None:
        self._builder, self._count, self._carried = builder, count, carried
        self._before = builder.block
        self._body, self._end = builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed(">", count, _I64(0)), self._body, self._end)
        builder.position_at_end(self._body)
        self._turn = builder.phi(_I64)
        self._turn.add_incoming(_I64(0), self._before)
        self.values = [self._phi(value, self._before) for value in carried]

    def _phi(self, value: Any, block: Any) -> Any:
        phi = self._builder.phi(value.type)
        phi.add_incoming(value, block)
        return phi

    def finish(self, handed: list[Any]) -> list[Any]:
        """End the turn with the values for the next; returns them after the last turn."""
        builder, last = self._builder, self._builder.block
        turn = builder.add(self._turn, _I64(1))
        self._turn.add_incoming(turn, last)
        for phi, value in zip(self.values, handed, strict=True):
            phi.add_incoming(value, last)
        builder.cbranch(builder.icmp_signed("<", turn, self._count), self._body, self._end)
        builder.position_at_end(self._end)
        results = []
        for value, new in zip(self._carried, handed, strict=True):
            results.append(self._phi(value, self._before))
            results[-1].add_incoming(new, last)
        return results


def _address(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _vector(builder: Any, pointer: Any, offset: int) -> Any:
    half = ir.VectorType(pointer.type.pointee, _HALF)
    return builder.bitcast(_place(builder, pointer, offset), half.as_pointer())


def _load(builder: Any, pointer: Any, offset: int) -> Any:
    return builder.load(_vector(builder, pointer, offset), align=4)


def _place(builder: Any, pointer: Any, offset: int) -> Any:
    return builder.gep(pointer, [_I64(offset)])


def _repeated(builder: Any, value: Any) -> Any:
    """A vector that holds one number in every place."""
    empty = ir.Constant(ir.VectorType(value.type, _HALF), ir.Undefined)
    first = builder.insert_element(empty, value, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), _HALF), [0] * _HALF)
    return builder.shuffle_vector(first, empty, everywhere)


def _product_added(builder: Any, a: Any, b: Any, total: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=_FLAGS), total, flags=_FLAGS)


@_intrinsic(prefer_literal=True)
def _sum_products(
    typing,
    num_rows,
    w,
    w_at,
    w_step,
    x,
    x_at,
    x_step,
    num_taps,
    num_inputs,
    start,
    start_at,
    least,
    y,
    y_at,
):
    """y[o] = max(start[o] + Σ_j Σ_i w[j, i, o] x[j, i], least) for `num_rows` outputs, a constant.

    y, start, x: one row of 16 lanes for each o or i. A further tap is `w_step` and `x_step` numbers
    away.
    """
    rows = num_rows.literal_value
    i64 = types.int64
    signature = types.void(
        num_rows, w, i64, i64, x, i64, i64, i64, i64, start, i64, w.dtype, y, i64
    )

    def generate(context, builder, signature, arguments):
        _, w, w_at, w_step, x, x_at, x_step, num_taps, num_inputs, *rest = arguments
        start, start_at, least, y, y_at = rest
        w = _address(context, builder, signature.args[1], w, w_at)
        x = _address(context, builder, signature.args[4], x, x_at)
        start = _address(context, builder, signature.args[9], start, start_at)
        y = _address(context, builder, signature.args[12], y, y_at)
        places = [row * LANES + half for row in range(rows) for half in (0, _HALF)]
        sums = [_load(builder, start, place) for place in places]
        taps = _Loop(builder, num_taps, [w, x, *sums])
        w_tap, x_tap, *_ = taps.values
        inputs = _Loop(builder, num_inputs, taps.values)
        w, x, *sums = inputs.values
        halves = [_load(builder, x, half) for half in (0, _HALF)]
        weights = [_repeated(builder, builder.load(_place(builder, w, row))) for row in range(rows)]
        added = [
            _product_added(builder, weights[n // 2], halves[n % 2], total)
            for n, total in enumerate(sums)
        ]
        steps = [_place(builder, w, rows), _place(builder, x, LANES)]
        _, _, *sums = inputs.finish([*steps, *added])
        steps = [builder.gep(w_tap, [w_step]), builder.gep(x_tap, [x_step])]
        _, _, *sums = taps.finish([*steps, *sums])
        floor = _repeated(builder, least)
        for place, total in zip(places, sums, strict=True):
            below = builder.fcmp_ordered("<", total, floor)
            total = builder.select(below, floor, total)  # what is not a number stays so
            builder.store(total, _vector(builder, y, place), align=4)
        return context.get_dummy_value()

    return signature, generate


def _outer_sums(builder: Any, rows: int, columns: int, a: tuple, b: tuple, steps: Any) -> list:
    """Σ_t a[t, o] b[t, i] per lane, for each o and i; a and b are places and strides."""
    half_vector = ir.VectorType(a[0].type.pointee, _HALF)
    zero = ir.Constant(half_vector, [a[0].type.pointee(0.0)] * _HALF)
    loop = _Loop(builder, steps, [a[0], b[0], *[zero] * (rows * columns)])
    a_t, b_t, *sums = loop.values
    for half in (0, _HALF):
        right = [_load(builder, b_t, i * LANES + half) for i in range(columns)]
        left = [_load(builder, a_t, o * LANES + half) for o in range(rows)]
        sums = [
            _product_added(builder, left[n // columns], right[n % columns], total)
            for n, total in enumerate(sums)
        ]
    _, _, *sums = loop.finish([builder.gep(a_t, [a[1]]), builder.gep(b_t, [b[1]]), *sums])
    return sums


@_intrinsic(prefer_literal=True)
def _add_outer_products(
    typing, num_rows, num_columns, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step
):
    """c[o, i] += Σ_t Σ_lanes a[t, o] b[t, i] for constant numbers of rows o and of columns i."""
    rows, columns = num_rows.literal_value, num_columns.literal_value
    i64 = types.int64
    signature = types.void(num_rows, num_columns, a, i64, i64, b, i64, i64, i64, c, i64, i64)

    def generate(context, builder, signature, arguments):
        _, _, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step = arguments
        a = _address(context, builder, signature.args[2], a, a_at)
        b = _address(context, builder, signature.args[5], b, b_at)
        c = _address(context, builder, signature.args[9], c, c_at)
        number = c.type.pointee
        half_vector = ir.VectorType(number, _HALF)
        sums = _outer_sums(builder, rows, columns, (a, a_step), (b, b_step), num_steps)
        suffix = "f32" if isinstance(number, ir.FloatType) else "f64"
        add_lanes = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(number, [number, half_vector]),
            f"llvm.vector.reduce.fadd.v{_HALF}{suffix}",
        )
        for n, total in enumerate(sums):
            row = builder.gep(c, [builder.mul(c_step, _I64(n // columns))])
            place = builder.gep(row, [_I64(n % columns)])
            lanes = builder.call(add_lanes, [number(0.0), total], fastmath=_FLAGS)
            builder.store(builder.fadd(builder.load(place), lanes), place)
        return context.get_dummy_value()

    return signature, generate


@_intrinsic
def larger(typing, value, least):
    """The larger of two numbers; what is not a number stays so. LLVM finds vectors in it."""

    def generate(context, builder, signature, arguments):
        value, least = arguments
        return builder.select(builder.fcmp_ordered("<", value, least), least, value)

    return value(value, value), generate


@njit(**OPTIONS)
def num_rows(num_outputs, row, group, num_groups):
    """How many outputs are computed together, from `row` on: groups of nearly equal size."""
    return (num_outputs - row + num_groups - group - 1) // (num_groups - group)


@njit(**OPTIONS)
def sum_rows(rows, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at):
    """`_sum_products` for a number of rows that is known only when it runs."""
    if rows == 6:
        _sum_products(
            6, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at
        )
    elif rows == 5:
        _sum_products(
            5, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at
        )
    elif rows == 4:
        _sum_products(
            4, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at
        )
    elif rows == 3:
        _sum_products(
            3, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at
        )
    elif rows == 2:
        _sum_products(
            2, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at
        )
    else:
        _sum_products(
            1, w, w_at, w_step, x, x_at, x_step, taps, inputs, start, start_at, least, y, y_at
        )


@njit(**OPTIONS)
def add_outer_rows(rows, columns, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step):
    """`_add_outer_products` for numbers of rows and columns that are known only when it runs."""
    if columns == 2:
        if rows == 6:
            _add_outer_products(6, 2, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step)
        elif rows == 5:
            _add_outer_products(5, 2, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step)
        elif rows == 4:
            _add_outer_products(4, 2, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step)
        elif rows == 3:
            _add_outer_products(3, 2, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step)
        elif rows == 2:
            _add_outer_products(2, 2, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step)
        else:
            _add_outer_products(1, 2, a, a_at, a_step, b, b_at, b_step, num_steps, c, c_at, c_step)
    else:
        for row in range(rows):
            at, to = a_at + row * LANES, c_at + row * c_step
            _add_outer_products(1, 1, a, at, a_step, b, b_at, b_step, num_steps, c, to, c_step)
