"""The contract that every model keeps, and tests of single models."""

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
from models import Network
from models.tcn import causal_conv, receptive_field
from tests.support.leaky import Leaky
from tests.support.signatures import REALS, TOKENS, Signature, sequences

FORMS: dict[str, models.Model] = {
    **{name: models.load(name) for name in models.names()},
    "lstm chrono": models.load("lstm", chrono=True),
    "lstm forget_bias": models.load("lstm", forget_bias=1.0),
    "gru chrono": models.load("gru", chrono=True),
    "rnn orthogonal": models.load("rnn", recurrent_init="orthogonal"),
    "rnn identity": models.load("rnn", recurrent_init="identity", nonlinearity="relu"),
    "tcn gated": models.load("tcn", gated=True),
    "tcn plain": models.load("tcn", residual=False),
    "tcn gated plain": models.load("tcn", gated=True, residual=False),
    "a plug-in": Leaky(),
}
"""Every model, its variants, and a model of a new family from outside the folder."""


def network(form: str, signature: Signature = REALS, width: int = 6, **fields: Any) -> Network:
    torch.manual_seed(0)
    model = dataclasses.replace(FORMS[form], **fields)
    return models.build(model, signature, width).double().eval()


@pytest.fixture(params=FORMS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[TOKENS, REALS], ids=["tokens", "reals"])
def signature(request: pytest.FixtureRequest) -> Signature:
    return request.param


def test_outputs_are_what_the_signature_says(name: str, signature: Signature) -> None:
    net = network(name, signature)
    x = sequences(signature, 3, 11)
    assert net(x)[0].shape == (3, 11, signature.num_outputs)
    y, state = net(x, last_only=True)
    assert y.shape == (3, 1, signature.num_outputs)
    assert state is None


@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8))
@settings(deadline=None, max_examples=6)
@pytest.mark.parametrize("name", FORMS)
def test_cutting_the_sequence_changes_nothing(name: str, cuts: list[int]) -> None:
    net = network(name)
    x = sequences(REALS, 2, sum(cuts))
    state, pieces = None, []
    for chunk in x.split(cuts, 1):
        y, state = net(chunk, state)
        pieces.append(y)
    # In double precision only the order of sums differs.
    torch.testing.assert_close(torch.cat(pieces, 1), net(x)[0], rtol=0, atol=1e-12)


def test_the_future_does_not_change_the_past(name: str, signature: Signature) -> None:
    net = network(name, signature)
    x = sequences(signature, 2, 30)
    changed = x.clone()
    changed[:, 17] = changed[:, 17] + 1 if signature.input == "real" else (x[:, 17] + 1) % 5
    y, other = net(x)[0], net(changed)[0]
    assert torch.equal(y[:, :17], other[:, :17])
    assert (y[:, 17] != other[:, 17]).any()  # its own step is included


def test_gradients_reach_every_parameter_and_are_finite(name: str) -> None:
    net = network(name)
    net(sequences(REALS, 2, 30))[0].square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


def test_the_last_step_alone_is_the_last_step(name: str) -> None:
    net = network(name)
    for steps in (1, 5, 40):
        x = sequences(REALS, 2, steps)
        full = torch.autograd.grad(net(x)[0][:, -1:].square().sum(), list(net.parameters()))
        last = torch.autograd.grad(net(x, last_only=True)[0].square().sum(), list(net.parameters()))
        torch.testing.assert_close(net(x)[0][:, -1:], net(x, last_only=True)[0])
        torch.testing.assert_close(full, last)


SIZED: dict[str, models.Model] = {
    **{form: model for form, model in FORMS.items() if "chrono" not in form},
    **{f"{name} stacked": models.load(name, num_layers=3) for name in ("lstm", "gru", "rnn")},
    "tcn narrow": models.load("tcn", kernel_size=2),
    "tcn shallow": models.load("tcn", num_blocks=1),
    "wavenet cycles": models.load("wavenet", dilation_cycle=3, kernel_size=3),
    "pixelcnn shallow": models.load("pixelcnn", num_layers=1, kernel_size=3),
}
"""Models that differ in their numbers of parameters."""
ONE_INPUT = Signature(num_inputs=1, num_outputs=10)


@pytest.mark.parametrize("form", FORMS)
def test_the_budget_is_met_within_3_percent(form: str) -> None:
    for like in (TOKENS, REALS, ONE_INPUT):
        for reach in (11, 61, 784, 4107):
            signature = dataclasses.replace(like, reach=reach)
            for budget in (10_000, 12_500, 31_000, 98_000, 300_000):
                size = models.fit_width(FORMS[form], signature, budget)
                count = models.count_parameters(FORMS[form], signature, *size)
                assert abs(count - budget) <= 0.03 * budget


@pytest.mark.parametrize("reach", [1, 61])
@pytest.mark.parametrize("form", SIZED)
def test_the_formula_counts_what_is_built(form: str, reach: int) -> None:
    for like in (TOKENS, ONE_INPUT, Signature(num_conditions=4)):
        signature = dataclasses.replace(like, reach=reach)
        last = SIZED[form].num_extra(signature) - 1
        # At a width equal to the inputs no skip is needed.
        for width, extra in ((signature.num_inputs, last), (7, last // 2), (40, 0)):
            with torch.device("meta"):
                built = models.num_parameters(models.build(SIZED[form], signature, width, extra))
            assert models.count_parameters(SIZED[form], signature, width, extra) == built


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_stacked_layers_meet_the_budget_too(name: str) -> None:
    net = models.network(name, REALS, param_budget=10_000, num_layers=3)
    assert abs(models.num_parameters(net) - 10_000) <= 300


def test_a_budget_that_cannot_be_met_names_the_nearest(name: str) -> None:
    of = f"param_budget 40 of {FORMS[name].model_name()}"
    with pytest.raises(ValueError, match=rf"{of} .* nearest is \d+"):
        models.fit_width(FORMS[name], Signature(num_inputs=10, num_outputs=10), 40)


def test_the_seed_decides_the_weights(name: str) -> None:
    first, second = network(name).state_dict(), network(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("lstmm", {}, r"'lstmm'.*gru, lstm"),
        ("gru", {"num_layers": 0}, "num_layers 0 of gru; valid: 1 or more"),
        ("gru", {"recurrent_init": "zeros"}, "'zeros' of gru; valid: uniform, orthogonal, ident"),
        ("rnn", {"nonlinearity": "gelu"}, "nonlinearity 'gelu' of rnn; valid: tanh, relu"),
        ("lstm", {"forget_bias": 1.0, "chrono": True}, "forget_bias 1.0 of lstm; valid: a number"),
        ("lstm", {"forget_bias": math.nan}, "forget_bias nan of lstm; valid: a number"),
        ("tcn", {"kernel_size": 0}, "kernel_size 0 of tcn; valid: 1 or more"),
        ("tcn", {"kernel_size": 1}, "kernel_size 1 of tcn; valid without num_blocks: 2 or more"),
        ("tcn", {"dropout": 1.0}, "dropout 1.0 of tcn; valid: 0 up to"),
        ("tcn", {"num_blocks": 0}, "num_blocks 0 of tcn; valid: 1 to 24"),
        ("wavenet", {"kernel_size": 1}, "kernel_size 1 of wavenet; valid: 2 or more"),
        ("wavenet", {"dilation_cycle": 0}, "dilation_cycle 0 of wavenet; valid: 1 to 24"),
        ("wavenet", {"num_cycles": 0}, "num_cycles 0 of wavenet; valid: 1 or more"),
        ("pixelcnn", {"kernel_size": 1}, "kernel_size 1 of pixelcnn; valid: 3, 5"),
        ("pixelcnn", {"kernel_size": 4}, "kernel_size 4 of pixelcnn; valid: 3, 5"),
        ("pixelcnn", {"num_layers": 0}, "num_layers 0 of pixelcnn; valid: 1 or more"),
    ],
)
def test_unknown_names_and_bad_fields_are_value_errors(
    name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        models.load(name, **fields)


def test_a_network_needs_either_a_budget_or_a_width() -> None:
    for size in ({}, {"param_budget": 10_000, "width": 4}):
        with pytest.raises(ValueError, match="one of param_budget"):
            models.network("tcn", REALS, **size)


def test_families_of_the_models_here_are_known_and_others_are_free(plugins: None) -> None:
    models.register(Leaky)
    families = {name: models.model_class(name).family for name in models.names()}
    assert families.items() >= {
        ("gru", "recurrent"),
        ("lstm", "recurrent"),
        ("pixelcnn", "convolutional"),
        ("rnn", "recurrent"),
        ("tcn", "convolutional"),
        ("wavenet", "convolutional"),
        ("leaky", "averaging"),
    }
    assert all(families.values())


def test_padding_changes_nothing(name: str, signature: Signature) -> None:
    lengths = torch.tensor([30, 1, 17])
    net, x = network(name, signature), sequences(signature, 3, 30)
    parameters = list(net.parameters())
    padded, state = net(x, lengths=lengths)
    last, _ = net(x, lengths=lengths, last_only=True)
    assert state is None
    gradients = torch.autograd.grad(padded.square().sum() + last.sum(), parameters)
    expected = [torch.zeros_like(gradient) for gradient in gradients]
    for i, length in enumerate(lengths.tolist()):
        alone = net(x[i : i + 1, :length])[0]
        torch.testing.assert_close(padded[i : i + 1, :length], alone)
        assert not padded[i, length:].any()
        torch.testing.assert_close(last[i], alone[0, -1:])
        own = torch.autograd.grad(alone.square().sum() + alone[:, -1].sum(), parameters)
        expected = [total + part for total, part in zip(expected, own, strict=True)]
    for gradient, total in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, total)
    x[1, 1:], x[2, 17:] = x[1, 0], x[2, 16]  # other padding
    assert torch.equal(net(x, lengths=lengths)[0], padded)


def test_encoded_inputs_are_taken_as_well(name: str) -> None:
    net, x = network(name, TOKENS), sequences(TOKENS, 2, 9)
    assert torch.equal(net(net.encode(x))[0], net(x)[0])


# Recurrent networks


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_recurrent_parameters_are_the_closed_form(name: str, gates: int) -> None:
    net = network(name, width=7)
    layer = gates * 7 * (REALS.num_inputs + 7 + 2)
    assert models.num_parameters(net) == layer + 7 * REALS.num_outputs + REALS.num_outputs
    assert net.receptive_field == math.inf


def layer_of(form: str, width: int, reach: int = 20) -> Any:
    return network(form, Signature(reach=reach), width).core.layers[0]  # pyright: ignore


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_each_gate_has_an_orthogonal_matrix(name: str, gates: int) -> None:
    net = network(name, width=5, recurrent_init="orthogonal")
    matrices = net.core.layers[0].weight_hh_l0.chunk(gates)  # pyright: ignore
    for matrix in matrices:
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(5).double(), rtol=0, atol=1e-6)


def test_the_identity_rnn_keeps_its_state() -> None:
    layer = layer_of("rnn identity", 300)
    assert torch.equal(layer.weight_hh_l0, torch.eye(300).double())
    assert not layer.bias_ih_l0.any()
    assert not layer.bias_hh_l0.any()
    assert layer.weight_ih_l0.std().item() == pytest.approx(0.001, rel=0.1)
    state = torch.rand(1, 2, 300).double()
    y, _ = layer(torch.zeros(2, 50, 3).double(), state)
    torch.testing.assert_close(y[:, -1], state[0])


def test_a_forget_bias_is_the_sum_of_the_forget_gates_two_biases() -> None:
    plain, biased = layer_of("lstm", 4), layer_of("lstm forget_bias", 4)
    forget = (biased.bias_ih_l0 + biased.bias_hh_l0)[4:8]
    assert torch.equal(forget, torch.ones(4).double())
    others = [0, 1, 2, 3, *range(8, 16)]
    assert torch.equal(plain.bias_ih_l0[others], biased.bias_ih_l0[others])


@pytest.mark.parametrize(("form", "gate"), [("lstm chrono", 1), ("gru chrono", 1)])
def test_chrono_biases_forget_within_1_to_reach_steps(form: str, gate: int) -> None:
    width, reach = 2000, 101
    layer = layer_of(form, width, reach)
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0)[gate * width : (gate + 1) * width]
    steps = bias.exp()  # uniform from 1 to T_max − 1
    assert 1 <= steps.min() < 2
    assert 99 < steps.max() <= 100
    assert steps.mean().item() == pytest.approx(50.5, abs=2)
    if form == "lstm chrono":
        input_bias = (layer.bias_ih_l0 + layer.bias_hh_l0)[:width]
        assert torch.equal(input_bias, -bias)


# TCN


def test_a_gated_unit_is_tanh_times_sigmoid() -> None:
    conv = network("tcn gated", num_blocks=1).core.blocks[0].conv1  # pyright: ignore
    x = sequences(REALS, 2, 12)
    weight, bias = conv.conv.weight, conv.conv.bias
    a, b = causal_conv(x, weight, bias).chunk(2, -1)
    torch.testing.assert_close(conv(x, None)[0], a.tanh() * b.sigmoid())


def test_without_a_residual_sum_a_block_is_its_convolutions() -> None:
    block: Any = network("tcn plain", num_blocks=1).core.blocks[0]  # pyright: ignore
    x = sequences(REALS, 2, 12)
    inner, _ = block.conv1(x, None)
    assert torch.equal(block(x, None)[0], block.conv2(inner, None)[0])
    assert isinstance(block.skip, nn.Identity)


def textbook_conv(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """z_t = b + Σ_i Σ_j x_{t − i·d, j} w_{i, j}, one number at a time; tap i = 0 is the last."""
    num_sequences, num_steps, num_inputs = x.shape
    num_outputs, _, kernel_size = weight.shape
    z = torch.zeros(num_sequences, num_steps, num_outputs, dtype=x.dtype)
    for b in range(num_sequences):
        for t in range(num_steps):
            for o in range(num_outputs):
                z[b, t, o] = bias[o]
                for i in range(kernel_size):
                    for j in range(num_inputs):
                        if t - i * dilation >= 0:
                            z[b, t, o] += x[b, t - i * dilation, j] * weight[o, j, -1 - i]
    return z


@pytest.mark.parametrize(
    ("steps", "kernel_size", "dilation"), [(1, 3, 1), (7, 1, 4), (9, 3, 2), (5, 4, 8), (12, 2, 5)]
)
def test_the_convolution_is_the_textbook_formula(
    steps: int, kernel_size: int, dilation: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, steps, 3, dtype=torch.double)
    weight, bias = torch.randn(4, 3, kernel_size, dtype=torch.double), torch.randn(4).double()
    expected = textbook_conv(x, weight, bias, dilation)
    torch.testing.assert_close(causal_conv(x, weight, bias, dilation=dilation), expected)
    for past in range(steps):
        part = causal_conv(x, weight, bias, dilation=dilation, num_past=past)
        torch.testing.assert_close(part, expected[:, past:])
        strided = causal_conv(x, weight, bias, dilation=dilation, num_past=past, stride=3)
        torch.testing.assert_close(strided, expected[:, past:].flip(1)[:, ::3].flip(1))


class TextbookTcn(nn.Module):
    """Bai et al.'s network in its usual form: pad both sides, convolve, cut off the end."""

    def __init__(self, net: Network, kernel_size: int) -> None:
        super().__init__()
        self.net, self.kernel_size = net, kernel_size

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(1, 2)
        for i, block in enumerate(self.net.core.blocks):  # pyright: ignore
            padding = (self.kernel_size - 1) * 2**i
            z = h
            for conv in (block.conv1.conv, block.conv2.conv):
                z = F.conv1d(z, conv.weight, conv.bias, padding=padding, dilation=2**i)
                z = F.relu(z[..., : z.shape[-1] - padding] if padding else z)
            h = F.relu(block.skip(h.transpose(1, 2)).transpose(1, 2) + z)
        return self.net.head(h.transpose(1, 2))


@given(
    kernel_size=st.integers(1, 5),
    num_blocks=st.integers(1, 5),
    steps=st.integers(1, 70),
    extra=st.integers(0, 5),
)
@settings(deadline=None, max_examples=25)
def test_the_tcn_is_the_textbook_tcn(
    kernel_size: int, num_blocks: int, steps: int, extra: int
) -> None:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"kernel_size": kernel_size, "num_blocks": num_blocks}
    net = models.network("tcn", REALS, width=4, extra_width=extra, **fields).double()
    x = sequences(REALS, 2, steps)
    expected = TextbookTcn(net, kernel_size)(x)
    torch.testing.assert_close(net(x)[0], expected)
    torch.testing.assert_close(net(x, last_only=True)[0], expected[:, -1:])
    parameters = list(net.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(net(x, last_only=True)[0].sum(), parameters, materialize_grads=True),
        torch.autograd.grad(expected[:, -1].sum(), parameters, materialize_grads=True),
    )


@pytest.mark.parametrize(("kernel_size", "num_blocks"), [(2, 1), (2, 3), (3, 2), (5, 2), (1, 3)])
def test_the_receptive_field_is_exact(kernel_size: int, num_blocks: int) -> None:
    fields: dict[str, Any] = {"kernel_size": kernel_size, "num_blocks": num_blocks}
    net = network("tcn", width=16, **fields)
    field = int(net.receptive_field)
    assert field == receptive_field(kernel_size, num_blocks)
    x = sequences(REALS, 1, field + 3).requires_grad_()
    net(x)[0][:, -1].sum().backward()
    assert x.grad is not None
    touched = (x.grad[0] != 0).any(1)
    # A ReLU may block single paths, but not the only one to the oldest input.
    assert touched[3]
    assert not touched[:3].any()


def test_depth_covers_twice_the_reach_unless_given() -> None:
    for reach in (1, 12, 61, 1011, 4107):
        signature = Signature(reach=reach)
        field = models.network("tcn", signature, width=2).receptive_field
        assert field >= 2 * reach
        assert field < 4 * reach + 20
    assert models.network("tcn", REALS, width=2, num_blocks=2).receptive_field == 43


def test_weights_are_normalised() -> None:
    net = network("tcn")
    conv = net.core.blocks[0].conv1.conv  # pyright: ignore
    scale, direction = (
        conv.parametrizations.weight.original0,
        conv.parametrizations.weight.original1,
    )
    expected = scale * direction / direction.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(conv.weight, expected)


def test_dropout_acts_only_in_training() -> None:
    net, x = network("tcn", dropout=0.5), sequences(REALS, 2, 20)
    assert torch.equal(net(x)[0], net(x)[0])
    net.train()
    assert not torch.equal(net(x)[0], net(x)[0])
