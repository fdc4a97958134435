"""The initial values of lru and s4d are those of the papers, and s4d is its recurrence."""

import math

import torch

import models
from models.lru import Lru, LruMixer
from models.s4d import CHUNK, S4dMixer
from tests.support.signatures import Signature


def test_the_first_rates_of_s4d_are_those_of_s4d_lin() -> None:
    torch.manual_seed(0)
    mixer = S4dMixer(500, 8)
    log_a_HP, _ = mixer.discrete()
    step_H = mixer.log_step.exp()
    assert 0.001 <= step_H.min() < 0.0012
    assert 0.08 < step_H.max() <= 0.1
    expected_P = torch.complex(torch.full((8,), -0.5), math.pi * torch.arange(8))
    torch.testing.assert_close(log_a_HP, step_H.unsqueeze(1) * expected_P)


def test_s4d_in_chunks_is_the_zero_order_hold_step_by_step() -> None:
    torch.manual_seed(0)
    mixer = S4dMixer(3, 4).double()
    u_BTH = torch.randn(2, 3 * CHUNK + 5, 3, dtype=torch.double)
    y_BTH, _ = mixer(u_BTH, None)
    A_HP = torch.complex(-mixer.log_decay.exp(), mixer.frequency)
    a_HP = (A_HP * mixer.log_step.exp().unsqueeze(1)).exp()
    h_BHP = torch.zeros(2, 3, 4, dtype=torch.complex128)
    for t, u_BH in enumerate(u_BTH.unbind(1)):
        h_BHP = a_HP * h_BHP + (a_HP - 1) / A_HP * u_BH.unsqueeze(2)
        read_BH = 2 * (torch.view_as_complex(mixer.readout) * h_BHP).sum(2).real
        expected = read_BH + mixer.skip * u_BH
        torch.testing.assert_close(y_BTH[:, t], expected, rtol=0, atol=1e-12)


def test_the_first_factors_of_lru_fill_a_ring() -> None:
    torch.manual_seed(0)
    factor_N = LruMixer(4, 4000, Lru(r_min=0.5, r_max=0.9)).factor()
    radius_N = factor_N.abs()
    assert 0.5 <= radius_N.min() < 0.51
    assert 0.89 < radius_N.max() <= 0.9
    # Uniform on the area of the ring, so the mean square is half way.
    assert abs(radius_N.square().mean() - (0.25 + 0.81) / 2) < 0.01
    quarter = ((factor_N.real > 0) & (factor_N.imag > 0)).double().mean()
    assert abs(quarter - 0.25) < 0.03


def test_the_inputs_of_lru_are_scaled_to_keep_the_size_of_the_state() -> None:
    torch.manual_seed(0)
    mixer = LruMixer(8, 500, Lru(r_min=0.9, r_max=0.95))
    _, h_BN = mixer(torch.randn(50, 200, 8), None)
    # Inputs of variance one give a complex input of variance one, and so does the sum.
    assert abs(h_BN.abs().square().mean() - 1) < 0.1


def test_only_the_recurrent_parameters_are_slow() -> None:
    slow = {
        "s4d": ("log_step", "log_decay", "frequency"),
        "lru": ("log_decay", "log_phase", "log_scale"),
    }
    for name, expected in slow.items():
        scales = models.network(name, Signature(), width=4).rate_scales
        blocks = (f"core.blocks.{n}.mixer.{part}" for n in range(2) for part in expected)
        assert scales == dict.fromkeys(blocks, 0.25)
