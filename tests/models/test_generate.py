"""Sampling and conditions, for every model."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models import Network, _generate, _network
from models._stepper import CapturedStepper, TorchStepper
from tests.support.leaky import Leaky
from tests.support.signatures import Signature

T, B, K, C = 42, 3, 5, 3
PLAIN = Signature(input="token", num_inputs=K + 1, num_outputs=K, reach=T, grid=(6, 7))
CONDITIONED = dataclasses.replace(PLAIN, num_conditions=C)

FORMS: dict[str, models.Model] = {
    **{name: models.load(name) for name in models.names()},
    "a plug-in": Leaky(),
    "pixelcnn short": models.load("pixelcnn", kernel_size=3, num_layers=1),
    "tcn short": models.load("tcn", kernel_size=3, num_blocks=1),
    "wavenet short": models.load("wavenet", dilation_cycle=2, num_cycles=2),
}
"""Every model, and models whose receptive field is shorter than the samples."""
CAPTURED = ("gru", "lstm", "rnn", "tcn", "tcn short", "wavenet", "wavenet short")
"""Models with a state of constant size."""
NAMES = [form for form in FORMS if not form.endswith("short")]
CONDITIONS: dict[str, Tensor | None] = {
    "none": None,
    "classes": torch.tensor([2, 0, 1]),
    "features": torch.randn(B, T, C, generator=torch.Generator().manual_seed(3)),
}


def network(form: str, signature: Signature = PLAIN, dtype: torch.dtype = torch.double) -> Network:
    torch.manual_seed(0)
    net = models.build(FORMS[form], signature, width=6)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)  # makes outputs differ between steps
    return net.to(dtype).eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generate(net: Network, **how: Any) -> Tensor:
    return models.generate(net, T, **{"batch_size": B, "generator": seeded(), **how})


def inputs(tokens: Tensor) -> Tensor:
    """x_1 the start token, x_t = y_{t−1}."""
    return torch.cat([torch.full_like(tokens[:, :1], K), tokens[:, :-1]], 1)


def random_ids(batch_size: int = B) -> Tensor:
    return torch.randint(K, (batch_size, T), generator=seeded())


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=CONDITIONS)
def condition(request: pytest.FixtureRequest) -> Tensor | None:
    return CONDITIONS[request.param]


def signature_for(condition: Tensor | None) -> Signature:
    return PLAIN if condition is None else CONDITIONED


def at(condition: Tensor | None, steps: slice) -> Tensor | None:
    """The condition of a chunk."""
    if condition is None or not condition.is_floating_point():
        return condition
    return condition[:, steps]


# Sampling


def test_cached_sampling_is_naive_sampling(
    form: str, condition: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtype = torch.float32 if condition is None else torch.float64
    net = network(form, signature_for(condition), dtype)
    prompt = torch.randint(K, (B, 9), generator=seeded(1))
    how: dict[str, Any] = {"condition": condition, "temperature": 0.5, "prompt": prompt}
    cached = generate(net, **how)
    assert torch.equal(cached, generate(net, **how, cached=False))
    assert cached.dtype == torch.int64
    assert 0 <= cached.min() < cached.max() < K
    for module in (_network, _generate):
        monkeypatch.setattr(module, "can_compile", lambda net: False)
    assert isinstance(net.stepper(), TorchStepper)
    assert torch.equal(cached, generate(net, **how))


def test_equal_generators_give_equal_ids_and_nothing_else_is_drawn() -> None:
    net = network("lstm")
    state, generator = torch.random.get_rng_state(), seeded()
    first = generate(net, generator=generator)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(generate(net), first)
    assert not torch.equal(generate(net, generator=seeded(1)), first)
    expected = seeded()
    torch.rand(B, T, generator=expected, dtype=torch.double)
    assert torch.equal(generator.get_state(), expected.get_state())


def test_samples_begin_with_the_prompt_and_continue_it(form: str, condition: Tensor | None) -> None:
    net = network(form, signature_for(condition))
    whole = generate(net, condition=condition)
    for num_known in (1, 20, T):
        prompt = whole[:, :num_known]
        assert torch.equal(generate(net, condition=condition, prompt=prompt), whole)
    other = (whole[:, :20] + 1) % K
    assert torch.equal(generate(net, condition=condition, prompt=other)[:, :20], other)


def fixed(logits: list[float]) -> Network:
    """A network with the same logits at every step."""
    net = network("rnn", Signature(input="token", num_inputs=4, num_outputs=3))
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor(logits))
    return net


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_ids_are_the_inverse_of_the_cumulative_distribution(
    temperature: float, cached: bool
) -> None:
    logits = [0.3, -1.0, 1.1]
    found = generate(fixed(logits), temperature=temperature, cached=cached)
    uniform = torch.rand(B, T, generator=seeded(), dtype=torch.double)
    first, second, _ = (torch.tensor(logits) / temperature).double().softmax(0).tolist()
    assert torch.equal(found, (uniform >= first).long() + (uniform >= first + second).long())


@pytest.mark.parametrize("temperature", [1e-3, 1e-320])
def test_small_temperatures_approach_the_argmax(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (generate(fixed([0.3, -1.0, 0.4]), temperature=temperature) == 2).all()
    monkeypatch.setattr(_generate, "can_compile", lambda net: False)
    assert (generate(fixed([0.3, -1.0, 0.4]), temperature=temperature) == 2).all()


def test_on_step_is_called_with_the_number_of_steps_done() -> None:
    done: list[int] = []
    generate(network("tcn"), prompt=torch.zeros(B, 4, dtype=torch.long), on_step=done.append)
    assert done == list(range(1, T + 1))


def test_sampling_uses_no_dropout_and_leaves_the_network_unchanged() -> None:
    torch.manual_seed(0)
    net = models.network("tcn", PLAIN, width=6, dropout=0.5).double()
    assert net.training
    for cached in (True, False):
        assert torch.equal(generate(net, cached=cached), generate(net))
    assert net.training
    x = inputs(generate(net))
    net(x)[0].sum().backward()  # samples can be used in training


def test_invalid_arguments_are_value_errors() -> None:
    net = network("tcn")
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"temperature .* valid: more than 0"):
            generate(net, temperature=temperature)
    with pytest.raises(ValueError, match="num_steps 0, batch_size 1; valid: 1 or more"):
        models.generate(net, 0, generator=seeded())
    for shape in ((B + 1, 4), (B, T + 1), (4,)):
        with pytest.raises(ValueError, match=r"a prompt of shape .*; valid: \(3, P\) .* most 42"):
            generate(net, prompt=torch.zeros(shape, dtype=torch.long))
    for bad in (torch.full((B, 1), K), torch.full((B, 1), -1), torch.zeros(B, 1)):
        with pytest.raises(ValueError, match="valid: ids from 0 to 4"):
            generate(net, prompt=bad)
    with pytest.raises(ValueError, match="class 3 as a condition; valid: 0 to 2"):
        generate(network("tcn", CONDITIONED), condition=torch.tensor([0, 3, 1]))
    for other in (
        dataclasses.replace(PLAIN, num_inputs=K),
        dataclasses.replace(PLAIN, input="real"),
    ):
        with pytest.raises(ValueError, match="valid: 6 tokens, the last of which is the start"):
            generate(network("lstm", other))


# Conditions


@pytest.mark.parametrize("name", NAMES)
def test_a_class_is_its_one_hot_at_every_step(name: str) -> None:
    net, x = network(name, CONDITIONED), inputs(random_ids())
    classes = torch.tensor([2, 0, 1])
    y, _ = net(x, condition=classes)
    rows = torch.eye(C)[classes][:, None].expand(B, T, C)
    assert torch.equal(net(x, condition=rows)[0], y)
    other, _ = net(x, condition=torch.tensor([2, 0, 2]))
    assert torch.equal(other[:2], y[:2])
    assert (other[2] != y[2]).any()  # a rectified output may coincide at some of the steps


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_changes_nothing_before_its_step(name: str) -> None:
    net, x = network(name, CONDITIONED), inputs(random_ids())
    features = CONDITIONS["features"]
    assert features is not None
    changed = features.clone()
    changed[:, 17] += 1
    y, other = net(x, condition=features)[0], net(x, condition=changed)[0]
    assert torch.equal(y[:, :17], other[:, :17])
    assert (y[:, 17] != other[:, 17]).any()


def test_stepping_and_cutting_with_conditions_is_forward(form: str) -> None:
    net, x = network(form, CONDITIONED), inputs(random_ids())
    features, classes = CONDITIONS["features"], CONDITIONS["classes"]
    assert features is not None
    for condition in (features, classes):
        y, _ = net(x, condition=condition)
        state, pieces = None, []
        for steps in (slice(0, 1), slice(1, 12), slice(12, 30), slice(30, T)):
            piece, state = net(x[:, steps], state, condition=at(condition, steps))
            pieces.append(piece)
        torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=0, atol=1e-10)
        _, state = net(x[:, :20], condition=at(condition, slice(0, 20)))
        held = classes if condition is classes else None
        steppers = [net.stepper(B, condition=held, compiled=how) for how in (True, False)]
        if form in CAPTURED:
            encoded = None if held is None else torch.eye(C).double()[held]
            steppers.append(CapturedStepper(net, B, encoded))
        for stepper in steppers:
            for start in (0, 20):
                stepper.load(state if start else None)
                steps = range(start, T)
                ys = [stepper(x[:, t], None if held is not None else features[:, t]) for t in steps]
                torch.testing.assert_close(torch.stack(ys, 1), y[:, start:], rtol=0, atol=1e-10)


def test_a_missing_condition_or_one_of_another_shape_is_a_value_error() -> None:
    net, x = network("gru", CONDITIONED), torch.zeros(B, 4, dtype=torch.long)
    ids, row = torch.zeros(B, dtype=torch.long), torch.zeros(B, C)
    for bad in (None, torch.zeros(B, 3, C), torch.zeros(B + 1, dtype=torch.long), row):
        with pytest.raises(ValueError, match=r"valid: \(3,\) class ids below 3, or \(3, 4, 3\)"):
            net(x, condition=bad)
    with pytest.raises(ValueError, match="this network has no conditions"):
        network("gru")(x, condition=ids)
    with pytest.raises(ValueError, match="features go with each step"):
        net.stepper(B, condition=row)
    for compiled in (True, False):
        stepper = net.stepper(B, compiled=compiled)
        for bad in (None, row[:1]):
            with pytest.raises(ValueError, match=r"valid: \(3, 3\) features of the step"):
                stepper(x[:, 0], bad)
        with pytest.raises(ValueError, match="valid: None"):
            net.stepper(B, condition=ids, compiled=compiled)(x[:, 0], row)
        with pytest.raises(ValueError, match="valid: None"):
            network("gru").stepper(B, compiled=compiled)(x[:, 0], row)
