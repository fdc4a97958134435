"""The contract that every model keeps, and tests of single models."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models import Network
from models._stepping import nested, tensors
from tests.support.leaky import Leaky
from tests.support.signatures import REALS, TOKENS, Signature, sequences

FORMS: dict[str, models.Model] = {
    **{name: models.load(name) for name in models.names()},
    "lstm chrono": models.load("lstm", chrono=True),
    "lstm forget_bias": models.load("lstm", forget_bias=None),
    "gru chrono": models.load("gru", chrono=True),
    "rnn orthogonal": models.load("rnn", recurrent_init="orthogonal"),
    "rnn identity": models.load("rnn", recurrent_init="identity", nonlinearity="relu"),
    "attention one head": models.load("attention", num_heads=1, expansion=2),
    "mamba small": models.load("mamba", state_size=3, num_layers=1),
    "tcn gated": models.load("tcn", gated=True),
    "tcn plain": models.load("tcn", residual=False),
    "tcn gated plain": models.load("tcn", gated=True, residual=False),
    "s4d small": models.load("s4d", num_states=16, num_layers=3),
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


def test_a_model_says_whether_the_state_of_its_core_grows(name: str) -> None:
    assert FORMS[name].state_grows == network(name).core.state_grows


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


@given(cut=st.integers(1, 11), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=6)
@pytest.mark.parametrize("name", FORMS)
def test_cutting_a_sequence_after_any_state_changes_nothing(name: str, cut: int, seed: int) -> None:
    """Every number of the state is random; counters of steps stay as they are."""
    net, x = network(name), sequences(REALS, 2, 12)
    like, generator = net(sequences(REALS, 2, 7))[1], torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(part.shape, generator=generator, dtype=part.dtype)
        if part.is_floating_point()
        else part
        for part in tensors(like)
    ]
    start = nested(like, iter(parts))
    whole = net(x, start)[0]
    first, state = net(x[:, :cut], start)
    second = net(x[:, cut:], state)[0]
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-12)
    assert (whole - net(x)[0]).abs().max() > 1e-6  # the state matters


def test_the_future_does_not_change_the_past(name: str, signature: Signature) -> None:
    net = network(name, signature)
    x = sequences(signature, 2, 30)
    changed = x.clone()
    changed[:, 17] = changed[:, 17] + 1 if signature.input == "real" else (x[:, 17] + 1) % 5
    y, other = net(x)[0], net(changed)[0]
    assert torch.equal(y[:, :17], other[:, :17])
    assert (y[:, 17] != other[:, 17]).any()  # its own step is included


def test_gradients_reach_every_parameter_and_are_finite(name: str) -> None:
    for num_conditions, condition in ((0, None), (3, torch.tensor([0, 2]))):
        net = network(name, Signature(num_conditions=num_conditions))
        net(sequences(REALS, 2, 30), condition=condition)[0].square().sum().backward()
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


@pytest.mark.parametrize("form", [form for form in SIZED if form in FORMS or "stacked" in form])
def test_the_budget_is_met_within_3_percent(form: str) -> None:
    for like in (TOKENS, ONE_INPUT):
        for reach in (11, 784, 4107):
            signature = dataclasses.replace(like, reach=reach)
            for budget in (12_500, 31_000, 300_000):
                size = models.fit_width(SIZED[form], signature, budget)
                count = models.count_parameters(SIZED[form], signature, *size)
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


def test_a_budget_that_cannot_be_met_names_the_nearest(name: str) -> None:
    of = f"param_budget 40 of {FORMS[name].model_name()}"
    with pytest.raises(ValueError, match=rf"{of} .* nearest is \d+"):
        models.fit_width(FORMS[name], Signature(num_inputs=10, num_outputs=10), 40)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("gru", {"num_layers": 0}, "num_layers 0 of gru; valid: 1 or more"),
        ("gru", {"recurrent_init": "zeros"}, "'zeros' of gru; valid: uniform, orthogonal, ident"),
        ("rnn", {"nonlinearity": "gelu"}, "nonlinearity 'gelu' of rnn; valid: tanh, relu"),
        ("lstm", {"forget_bias": 5.0, "chrono": True}, "forget_bias 5.0 of lstm; leave it out"),
        ("lstm", {"forget_bias": math.nan}, "forget_bias nan of lstm; valid: a number"),
        ("tcn", {"kernel_size": 0}, "kernel_size 0 of tcn; valid: 1 or more"),
        ("tcn", {"kernel_size": 1}, "kernel_size 1 of tcn; valid without num_blocks: 2 or more"),
        ("tcn", {"dropout": 1.0}, "dropout 1.0 of tcn; valid: 0 up to"),
        ("tcn", {"num_blocks": 0}, "num_blocks 0 of tcn; valid: 1 to 24"),
        ("wavenet", {"kernel_size": 1}, "kernel_size 1 of wavenet; valid: 2 or more"),
        ("wavenet", {"dilation_cycle": 0}, "dilation_cycle 0 of wavenet; valid: 1 to 24"),
        ("wavenet", {"num_cycles": 0}, "num_cycles 0 of wavenet; valid: 1 or more"),
        ("attention", {"num_layers": 0}, "num_layers 0 of attention; valid: 1 or more"),
        ("attention", {"num_heads": 0}, "num_heads 0 of attention; valid: 1 or more"),
        ("attention", {"expansion": 0}, "expansion 0 of attention; valid: 1 or more"),
        ("mamba", {"num_layers": 0}, "num_layers 0 of mamba; valid: 1 or more"),
        ("mamba", {"state_size": 0}, "state_size 0 of mamba; valid: 1 or more"),
        ("pixelcnn", {"kernel_size": 1}, "kernel_size 1 of pixelcnn; valid: 3, 5"),
        ("pixelcnn", {"kernel_size": 4}, "kernel_size 4 of pixelcnn; valid: 3, 5"),
        ("pixelcnn", {"num_layers": 0}, "num_layers 0 of pixelcnn; valid: 1 or more"),
        ("mingru", {"num_layers": 0}, "num_layers 0 of mingru; valid: 1 or more"),
        ("s4d", {"num_states": 7}, "num_states 7 of s4d; valid: even, 2 or more"),
        ("lru", {"r_max": 1.0}, "r_max 1.0 of lru; valid: 0 ≤ r_min < r_max < 1"),
        ("lru", {"max_phase": 0.0}, "max_phase 0.0 of lru; valid: above 0, up to 2π"),
    ],
)
def test_bad_fields_are_value_errors(name: str, fields: dict[str, Any], message: str) -> None:
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
        ("attention", "attention"),
        ("mamba", "linear_recurrent"),
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


DEFAULTS: dict[str, dict[str, Any]] = {
    "attention": {"num_layers": 2, "num_heads": 2, "expansion": 4},
    "gru": {"num_layers": 1, "recurrent_init": "uniform", "chrono": False},
    "lstm": {"num_layers": 1, "recurrent_init": "uniform", "forget_bias": 1.0, "chrono": False},
    "mamba": {"num_layers": 2, "state_size": 16},
    "pixelcnn": {"kernel_size": 5, "num_layers": None},
    "rnn": {"num_layers": 1, "recurrent_init": "uniform", "nonlinearity": "tanh"},
    "tcn": {
        **{"kernel_size": 8, "num_blocks": None, "dropout": 0.0},
        **{"gated": False, "residual": True},
    },
    "wavenet": {"kernel_size": 2, "dilation_cycle": None, "num_cycles": None},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_fields_are_pinned_since_specs_contain_them(name: str) -> None:
    assert models.load(name).fields == DEFAULTS[name]
    assert models.model_class(name).version == (2 if name == "lstm" else 1)


def test_a_budget_more_than_3_percent_away_is_a_value_error() -> None:
    # With 3 inputs and 2 outputs, width w has w² + 8·w + 2 parameters: 562 at 20, 611 at 21.
    assert models.fit_width(Leaky(), REALS, 578) == (20, 0)
    with pytest.raises(ValueError, match="within 3%; the nearest is 562"):
        models.fit_width(Leaky(), REALS, 586)
