"""The outputs of every stepper equal `forward`'s."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models import Network
from models._stepper import CapturedStepper, CompiledStepper, Stepper, TorchStepper, tensors
from models.attention import AttentionCore
from models.pixelcnn import PixelCnnCore
from tests.support.signatures import BUILT_IN, REALS, TOKENS, Signature, sequences

CAPTURED = tuple(name for name in BUILT_IN if name not in ("pixelcnn", "attention"))
"""Models whose state keeps its size. PixelCNN's state is longer at the end of a row, and that of
attention is longer after every step."""

NORMED = ("attention", "lru", "mamba", "mingru", "minlstm", "s4d")
"""Models whose norm turns one or two channels into little more than their signs, so that rounding
near zero has no bound."""


def network(name: str, signature: Signature, dtype: torch.dtype, seed: int, **how: Any) -> Network:
    torch.manual_seed(seed)
    return models.network(name, signature, **how).to(dtype).eval()


def close(y: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    """Check equality within rounding of the largest output: the order of the sums differs.

    In float32, a norm over a few channels that are almost equal makes 1e-7 to 2e-5. In float64 the
    same networks must agree to 1e-10.
    """
    within = {torch.float32: 1e-4, torch.float64: 1e-10}.get(dtype, 2e-2)
    assert (y - expected).abs().max() <= within * expected.abs().max()


KINDS = [
    (CompiledStepper, torch.float32),
    (CompiledStepper, torch.float64),
    (TorchStepper, torch.float64),
    (CapturedStepper, torch.float64),
]


@st.composite
def sizes(draw: st.DrawFn, name: str) -> dict[str, Any]:
    how: dict[str, Any] = {"width": draw(st.integers(1, 9))}
    if name == "tcn":
        how |= {"kernel_size": draw(st.integers(1, 5)), "num_blocks": draw(st.integers(1, 4))}
        how["extra_width"] = draw(st.integers(0, 2 * how["num_blocks"] - 1))
        how |= {"gated": draw(st.booleans()), "residual": draw(st.booleans())}
    elif name == "wavenet":
        how |= {"kernel_size": draw(st.integers(2, 4)), "dilation_cycle": draw(st.integers(1, 3))}
        how["num_cycles"] = draw(st.integers(1, 3))
        num_layers = how["dilation_cycle"] * how["num_cycles"]
        how["extra_width"] = draw(st.integers(0, 2 * num_layers - 1))
    elif name == "pixelcnn":
        how |= {"kernel_size": draw(st.sampled_from([3, 5])), "num_layers": draw(st.integers(1, 3))}
        how["extra_width"] = draw(st.integers(0, 2 * how["num_layers"]))
    elif name == "mamba":
        how |= {"num_layers": draw(st.integers(1, 3)), "state_size": draw(st.integers(1, 5))}
        how["extra_width"] = draw(st.integers(0, 5))
    elif name == "attention":
        how |= {"num_layers": draw(st.integers(1, 3)), "num_heads": draw(st.integers(1, 3))}
        how |= {"expansion": draw(st.integers(1, 4)), "extra_width": draw(st.integers(0, 5))}
    else:
        if name == "rnn":
            how["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
        how["num_layers"] = draw(st.integers(1, 3))
        how["extra_width"] = draw(st.integers(0, how["num_layers"] - 1))
        if name == "s4d":
            how["num_states"] = 2 * draw(st.integers(1, 5))
    if name in NORMED:
        how["width"] += 2
    return how


@given(
    data=st.data(),
    kind=st.sampled_from(KINDS),
    signature=st.sampled_from([TOKENS, REALS]),
    batch_size=st.integers(1, 4),
    prefill=st.integers(0, 40),
    steps=st.integers(1, 45),
)
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("name", BUILT_IN)
def test_stepping_is_forward(
    name: str,
    data: st.DataObject,
    kind: tuple[type[Stepper], torch.dtype],
    signature: Signature,
    batch_size: int,
    prefill: int,
    steps: int,
) -> None:
    """`forward` reads the beginning, the stepper goes on, and `forward` reads the end."""
    cls, dtype = kind
    net = network(name, signature, dtype, 1, **data.draw(sizes(name)))
    end = prefill + steps
    x = sequences(signature, batch_size, end + 20)
    x = x if signature.input == "token" else x.to(dtype)
    expected = net(x)[0].detach()
    if cls is CapturedStepper and name in CAPTURED:
        stepper = CapturedStepper(net, batch_size)
    else:
        stepper = net.stepper(batch_size, compiled=cls is CompiledStepper)
        assert isinstance(stepper, CompiledStepper) == (cls is CompiledStepper)
    if prefill:
        stepper.load(net(x[:, :prefill])[1])
    ys = [stepper(x_t) for x_t in x[:, prefill:end].unbind(1)]
    close(torch.stack(ys, 1), expected[:, prefill:end], dtype)
    close(net(x[:, end:], stepper.state())[0].detach(), expected[:, end:], dtype)
    stepper.reset()
    ys = [stepper(x_t) for x_t in x[:, :5].unbind(1)]
    close(torch.stack(ys, 1), expected[:, :5], dtype)


@pytest.mark.parametrize("name", CAPTURED)
def test_fixed_buffers_continue_from_a_state_that_is_not_full(name: str) -> None:
    net, x = network(name, REALS, torch.float64, 1, width=4), sequences(REALS, 2, 12)
    stepper = CapturedStepper(net, 2)
    stepper.load(net(x[:, :3])[1])
    ys = [stepper(x_t) for x_t in x[:, 3:].unbind(1)]
    close(torch.stack(ys, 1), net(x)[0][:, 3:].detach(), torch.float64)


def test_a_start_other_than_zeros_and_a_growing_state_are_not_captured() -> None:
    net = network("rnn", REALS, torch.float32, 0, width=4)
    forward = net.core.forward

    def from_ones(x_BTI: torch.Tensor, state: Any = None, *, last_only: bool = False) -> Any:
        start = (torch.ones(1, len(x_BTI), 4),)
        return forward(x_BTI, start if state is None else state, last_only=last_only)

    net.core.forward = from_ones
    with pytest.raises(ValueError, match="not a state of zeros"):
        CapturedStepper(net, 1)
    with pytest.raises(ValueError, match="keep its size"):
        CapturedStepper(network("pixelcnn", REALS, torch.float32, 0, width=4), 1)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions_step_without_a_kernel(name: str, dtype: torch.dtype) -> None:
    net = network(name, REALS, dtype, 3, width=5)
    x = sequences(REALS, 1, 12).to(dtype)
    stepper = net.stepper(1)
    assert isinstance(stepper, TorchStepper)
    ys = torch.stack([stepper(x_t) for x_t in x.unbind(1)], 1)
    close(ys.double(), net(x)[0].detach().double(), dtype)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_stepper_is_a_snapshot(name: str) -> None:
    net = network(name, REALS, torch.float64, 4, width=5)
    x = sequences(REALS, 1, 1)[:, 0]
    for compiled in (True, False):
        stepper = net.stepper(1, compiled=compiled)
        before = stepper(x)
        kept = before.clone()
        stepper.reset()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(2)
        assert torch.equal(stepper(x), kept)
        assert torch.equal(before, kept)  # returned outputs are not overwritten


def test_the_state_is_bounded_by_the_receptive_field() -> None:
    net = network("tcn", REALS, torch.float32, 5, width=6, kernel_size=3, num_blocks=4)
    stepper = net.stepper(3)
    inputs = 3 + 6 + 6 * 2 * 3  # of the two convolutions of the first block and the three others
    assert stepper.state_bytes <= 2 * 4 * 3 * 8 * inputs
    assert net.stepper(1).state_bytes == stepper.state_bytes  # of one stream
    lstm = network("lstm", REALS, torch.float32, 5, width=6, num_layers=2)
    assert lstm.stepper(1).state_bytes == 2 * 2 * 6 * 4
    assert lstm.stepper(1, compiled=False).state_bytes == 2 * 2 * 6 * 4


def test_a_step_of_another_shape_is_a_value_error() -> None:
    stepper = network("tcn", REALS, torch.float32, 6, width=4).stepper(2)
    with pytest.raises(ValueError, match=r"\(3, 3\); valid: \(2, 3\)"):
        stepper(torch.zeros(3, 3))


@pytest.mark.parametrize("name", BUILT_IN)
def test_nan_inputs_give_nan_outputs(name: str) -> None:
    stepper = network(name, REALS, torch.float32, 7, width=4).stepper(1)
    stepper(torch.full((1, 3), math.nan))  # pixelcnn ignores this one, the start token
    assert stepper(torch.full((1, 3), math.nan)).isnan().any()


def test_tensors_of_a_state() -> None:
    a, b = torch.zeros(1), torch.zeros(2)
    assert tensors(((a, b), None, [a])) == [a, b, a]


def of_kind(cls: type[Stepper], net: Network, batch_size: int) -> Stepper:
    """A stepper of this kind; where the state does not keep its size, a plain one."""
    if cls is CapturedStepper and not isinstance(net.core, PixelCnnCore | AttentionCore):
        return CapturedStepper(net, batch_size)
    return net.stepper(batch_size, compiled=cls is CompiledStepper)


def inputs(
    signature: Signature, batch_size: int, steps: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Inputs of every step and, if the signature has them, conditions."""
    x = sequences(signature, batch_size, steps)
    generator = torch.Generator().manual_seed(2)
    shape = (batch_size, steps, signature.num_conditions)
    condition = torch.randn(shape, generator=generator).to(dtype)
    x = x.to(dtype) if x.is_floating_point() else x
    return x, condition if signature.num_conditions else None


def part(condition: torch.Tensor | None, steps: Any) -> torch.Tensor | None:
    return None if condition is None else condition[:, steps]


CONDITIONED = [TOKENS, REALS, replace(TOKENS, num_conditions=3), replace(REALS, num_conditions=2)]


@given(
    data=st.data(),
    kind=st.sampled_from(KINDS),
    signature=st.sampled_from(CONDITIONED),
    batch_size=st.integers(1, 3),
    chunks=st.lists(st.integers(0, 17), min_size=1, max_size=6),
)
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("name", BUILT_IN)
def test_runs_mixed_with_single_steps_are_forward(
    name: str,
    data: st.DataObject,
    kind: tuple[type[Stepper], torch.dtype],
    signature: Signature,
    batch_size: int,
    chunks: list[int],
) -> None:
    """A chunk of 0 stands for a single call. At the end `forward` goes on from the state."""
    cls, dtype = kind
    net = network(name, signature, dtype, 1, **data.draw(sizes(name)))
    end = sum(max(chunk, 1) for chunk in chunks)
    x, condition = inputs(signature, batch_size, end + 9, dtype)
    expected = net(x, condition=condition)[0].detach()
    stepper, pieces, t = of_kind(cls, net, batch_size), [], 0
    for chunk in chunks:
        steps = slice(t, t + chunk)
        if chunk:
            pieces.append(stepper.run(x[:, steps], part(condition, steps)))
        else:
            pieces.append(stepper(x[:, t], part(condition, t)).unsqueeze(1))
        t += max(chunk, 1)
    close(torch.cat(pieces, 1), expected[:, :end], dtype)
    rest = slice(end, None)
    y, _ = net(x[:, rest], stepper.state(), condition=part(condition, rest))
    close(y.detach(), expected[:, rest], dtype)


@given(
    data=st.data(),
    kind=st.sampled_from(KINDS),
    signature=st.sampled_from(CONDITIONED),
    batch_size=st.integers(1, 4),
)
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_reset_stream_starts_anew_and_the_others_go_on(
    name: str,
    data: st.DataObject,
    kind: tuple[type[Stepper], torch.dtype],
    signature: Signature,
    batch_size: int,
) -> None:
    """Each stream equals `forward` on its inputs since its last reset."""
    cls, dtype = kind
    net = network(name, signature, dtype, 1, **data.draw(sizes(name)))
    masks = data.draw(
        st.dictionaries(
            st.integers(0, 39),
            st.lists(st.booleans(), min_size=batch_size, max_size=batch_size),
            max_size=4,
        )
    )
    x, condition = inputs(signature, batch_size, 40, dtype)
    stepper, untouched = of_kind(cls, net, batch_size), of_kind(cls, net, batch_size)
    starts, ever = [0] * batch_size, torch.zeros(batch_size, dtype=torch.bool)
    for t in range(40):
        if t in masks:
            mask = torch.tensor(masks[t])
            stepper.reset(mask.numpy() if t % 2 else mask)
            ever |= mask
            starts = [t if chosen else s for chosen, s in zip(masks[t], starts, strict=True)]
        y = stepper(x[:, t], part(condition, t))
        assert torch.equal(y[~ever], untouched(x[:, t], part(condition, t))[~ever])
        if t % 7 == 0 or t == 39:
            for stream, start in enumerate(starts):
                one, steps = slice(stream, stream + 1), slice(start, t + 1)
                c = None if condition is None else condition[one, steps]
                expected = net(x[one, steps], condition=c)[0][0, -1].detach()
                close(y[stream], expected, dtype)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("compiled", [True, False])
def test_numpy_arrays_give_numpy_arrays(name: str, compiled: bool) -> None:
    net, x = network(name, REALS, torch.float32, 1, width=4), sequences(REALS, 2, 6).float()
    expected = net.stepper(2, compiled=compiled).run(x)
    stepper = net.stepper(2, compiled=compiled)
    ys = [stepper(x_t) for x_t in x[:, :3].numpy().swapaxes(0, 1)]
    ys.extend(stepper.run(x[:, 3:].numpy()).swapaxes(0, 1))
    assert all(isinstance(y, np.ndarray) for y in ys)
    assert np.array_equal(np.stack(ys, 1), expected.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_gates_are_exact(dtype: torch.dtype) -> None:
    """Inputs that saturate every gate: the ratio of polynomials stays within its error."""
    for name in ("rnn", "gru", "lstm"):
        net = network(name, REALS, dtype, 1, width=20)
        x = 30 * sequences(REALS, 2, 20).to(dtype)
        close(net.stepper(2).run(x), net(x)[0].detach(), dtype)


def test_invalid_runs_ids_and_masks_are_value_errors() -> None:
    stepper = network("tcn", TOKENS, torch.float32, 6, width=4).stepper(2)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=f"id {wrong}; valid: 0 to 4"):
            stepper(torch.tensor([0, wrong]))
    with pytest.raises(ValueError, match=r"\(2,\); valid: \(2, T\)"):
        stepper.run(torch.zeros(2, dtype=torch.long))
    for compiled in (True, False):
        stepper = network("tcn", TOKENS, torch.float32, 6, width=4).stepper(2, compiled=compiled)
        with pytest.raises(ValueError, match="0 steps"):
            stepper.run(torch.zeros(2, 0, dtype=torch.long))
        for mask in (torch.zeros(3, dtype=torch.bool), torch.zeros(2)):
            with pytest.raises(ValueError, match=r"valid: \(2,\) booleans"):
                stepper.reset(mask)


@pytest.mark.parametrize(
    "name",
    [
        *("tcn", "wavenet", "lstm", "gru", "rnn"),
        *("mingru", "minlstm", "lru", "s4d", "mamba", "attention"),
    ],
)
def test_every_model_that_reads_sequences_has_a_compiled_step(name: str) -> None:
    assert isinstance(network(name, TOKENS, torch.float32, 6, width=8).stepper(), CompiledStepper)
