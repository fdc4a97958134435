"""One small matrix times one vector on the CPU, written in LLVM's language.

Numba has no type for vector registers, in which the sums stay until they are complete.
"""

from typing import Any

from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils

OPTIONS: dict[str, Any] = {
    # Sums may be reordered and fused with products. NaN and Inf keep their meaning.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
VECTOR_BYTES = 32
_VECTORS = 4
"""Vectors of outputs whose sums are computed together."""
PANEL_BYTES = VECTOR_BYTES * _VECTORS
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_intrinsic: Any = extending.intrinsic  # its type hides that the compiler adds the first argument


@_intrinsic(prefer_literal=True)
def _panel(typing, num_vectors, w, w_at, x, x_at, num_inputs, start, start_at, out, out_at, least):
    """out = max(start + W x, least) for a constant number of vectors of outputs.

    W is stored by columns. Several columns are summed at a time, in sums of their own, since a sum
    must wait for the one before.
    """
    width = num_vectors.literal_value
    i64 = types.int64
    signature = types.void(num_vectors, w, i64, x, i64, i64, start, i64, out, i64, w.dtype)

    def generate(context, builder, signature, arguments):
        num_inputs, least = arguments[5], arguments[10]

        def address(n):
            array = context.make_array(signature.args[n])(context, builder, arguments[n])
            return builder.gep(array.data, [arguments[n + 1]])

        w, x, start, out = address(1), address(3), address(6), address(8)
        number = w.type.pointee
        lanes = 32 // context.get_abi_sizeof(number)
        vector = ir.VectorType(number, lanes)

        def place(pointer, vectors):
            at = builder.gep(pointer, [_I64(vectors * lanes)])
            return builder.bitcast(at, vector.as_pointer())

        def load(pointer, vectors):
            return builder.load(place(pointer, vectors), align=4)

        def repeated(number):
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _I32(0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return builder.shuffle_vector(one, one, mask)

        def add_column(j, sums):
            x_j = repeated(builder.load(builder.gep(x, [j])))
            column = builder.gep(w, [builder.mul(j, _I64(width * lanes))])
            for n, total in enumerate(sums):
                product = builder.fmul(load(column, n), x_j, flags=("contract",))
                value = builder.fadd(builder.load(total), product, flags=("contract",))
                builder.store(value, total)

        together = 8 // width
        sums = [
            [cgutils.alloca_once(builder, vector) for _ in range(width)] for _ in range(together)
        ]
        for group, parts in enumerate(sums):
            for n, total in enumerate(parts):
                first = load(start, n) if group == 0 else ir.Constant(vector, [0.0] * lanes)
                builder.store(first, total)
        rounds = builder.sdiv(num_inputs, _I64(together))
        with cgutils.for_range(builder, rounds) as loop:
            for group, parts in enumerate(sums):
                j = builder.add(builder.mul(loop.index, _I64(together)), _I64(group))
                add_column(j, parts)
        done = builder.mul(rounds, _I64(together))
        with cgutils.for_range(builder, builder.sub(num_inputs, done)) as loop:
            add_column(builder.add(done, loop.index), sums[0])
        floor = repeated(least)
        for n in range(width):
            parts = [builder.load(group[n]) for group in sums]
            while len(parts) > 1:
                parts = [
                    builder.fadd(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i]
                    for i in range(0, len(parts), 2)
                ]
            low = builder.fcmp_ordered("<", parts[0], floor)  # false for NaN, which is kept
            builder.store(builder.select(low, floor, parts[0]), place(out, n), align=4)
        return context.get_dummy_value()

    return signature, generate


@njit(**OPTIONS)
def affine_arrays(w, w_at, x, x_at, num_inputs, start, start_at, out, out_at, size, least):
    """out = max(start + W x, least), for whole vectors of outputs.

    Each array is given with the place where its numbers begin. W has panels of four vectors; the
    last may be narrower.
    """
    lanes = VECTOR_BYTES // w.itemsize
    while size >= 4 * lanes:
        _panel(4, w, w_at, x, x_at, num_inputs, start, start_at, out, out_at, least)
        w_at += 4 * lanes * num_inputs
        start_at += 4 * lanes
        out_at += 4 * lanes
        size -= 4 * lanes
    if size == 3 * lanes:
        _panel(3, w, w_at, x, x_at, num_inputs, start, start_at, out, out_at, least)
    elif size == 2 * lanes:
        _panel(2, w, w_at, x, x_at, num_inputs, start, start_at, out, out_at, least)
    elif size == lanes:
        _panel(1, w, w_at, x, x_at, num_inputs, start, start_at, out, out_at, least)
