"""Gated PixelCNN equals masked convolutions on the image; the pixels that it sees."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import models
from models import Network
from models.pixelcnn import PixelCnn, receptive_field
from tests.support.signatures import Signature

H, W, K, C = 6, 7, 4, 2
IMAGE = Signature(input="token", num_inputs=K + 1, num_outputs=K, reach=H * W, grid=(H, W))


def network(num_conditions: int = 0, **fields: Any) -> Network:
    torch.manual_seed(0)
    signature = Signature(**{**vars(IMAGE), "num_conditions": num_conditions})
    net = models.network("pixelcnn", signature, width=8, extra_width=1, **fields).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    return net


def shifted(pixels: Tensor) -> Tensor:
    """x_1 the start token, x_t = y_{t−1}."""
    return torch.cat([torch.full_like(pixels[:, :1], K), pixels[:, :-1]], 1)


def masked(weight: Tensor, kernel_size: int, num_rows: int) -> Tensor:
    """An n × n kernel of zeros except for these taps, which begin at this row."""
    whole = torch.zeros(*weight.shape[:2], kernel_size, kernel_size, dtype=weight.dtype)
    whole[:, :, num_rows : num_rows + weight.shape[2], : weight.shape[3]] = weight
    return whole


def textbook(net: Network, pixels: Tensor, classes: Tensor | None, kernel_size: int) -> Tensor:
    """The paper's figure 2 on whole images with masked kernels, without shifting the image."""
    core: Any = net.core
    m = kernel_size // 2
    image = F.one_hot(pixels, K + 1).double().unflatten(1, (H, W)).permute(0, 3, 1, 2)
    v = h = image
    for layer in core.layers:
        # The vertical stack sees the rows above, the horizontal one the pixels to the left. Mask A
        # of the first layer leaves out the pixel itself.
        down = F.conv2d(
            v, masked(layer.vertical.weight, kernel_size, 0), layer.vertical.bias, padding=m
        )
        left = F.conv2d(h, masked(layer.horizontal.weight, kernel_size, m), padding=m)
        left = left + layer.to_horizontal(down)
        if classes is not None:
            one_hot = F.one_hot(classes, C).double()[:, :, None, None]
            left = left + layer.gate.condition(one_hot)
            if layer.vertical_gate is not None:
                down = down + layer.vertical_gate.condition(one_hot)
        a, b = left.chunk(2, 1)
        new = layer.residual(a.tanh() * b.sigmoid())
        h = new if h is image else h + new
        a, b = down.chunk(2, 1)
        v = a.tanh() * b.sigmoid()
    y = core.output(h.relu()).relu().flatten(2).transpose(1, 2)
    return net.head(y)


@pytest.mark.parametrize("classes", [None, torch.tensor([1, 0])])
@pytest.mark.parametrize(("kernel_size", "num_layers"), [(3, 1), (3, 4), (5, 1), (5, 3), (7, 2)])
def test_it_is_the_network_of_masked_convolutions(
    kernel_size: int, num_layers: int, classes: Tensor | None
) -> None:
    num_conditions = 0 if classes is None else C
    net = network(num_conditions, kernel_size=kernel_size, num_layers=num_layers)
    pixels = torch.randint(K, (2, H * W), generator=torch.Generator().manual_seed(1))
    expected = textbook(net, pixels, classes, kernel_size)
    y, _ = net(shifted(pixels), condition=classes)
    torch.testing.assert_close(y, expected)
    assert y.std(1).min() > 1e-3  # the outputs of the pixels differ


def pixels_seen(reached: int) -> Tensor:
    """(T, T): whether the output of step t depends on pixel s."""
    seen = torch.zeros(H * W, H * W, dtype=torch.bool)
    for t in range(H * W):
        for s in range(t):
            (row, column), (above, beside) = divmod(t, W), divmod(s, W)
            seen[t, s] = row - above <= reached and abs(column - beside) <= reached
    return seen


FORMS = [(3, 1), (3, 2), (3, 4), (5, 1), (5, 2), (7, 1), (7, 3)]


@pytest.mark.parametrize("num_conditions", [0, C])
@pytest.mark.parametrize(("kernel_size", "num_layers"), FORMS)
def test_there_is_no_blind_spot_and_the_field_is_exact(
    kernel_size: int, num_layers: int, num_conditions: int
) -> None:
    net = network(num_conditions, kernel_size=kernel_size, num_layers=num_layers)
    reached = num_layers * (kernel_size // 2)
    expected = pixels_seen(reached)
    classes = torch.zeros(H * W, dtype=torch.long) if num_conditions else None
    x = net.encode(shifted(torch.zeros(H * W, H * W, dtype=torch.long)))
    steps = torch.arange(1, H * W)
    x[steps - 1, steps] = torch.nan  # a pixel of each sequence, one step later
    seen = net(x, condition=classes)[0].isnan().any(-1).T
    assert torch.equal(seen, expected)
    if reached < H:  # x_{s + 1} is pixel s
        farthest = max(int(t - s) for t, s in seen.nonzero())
        assert net.receptive_field == farthest
    assert net.receptive_field == receptive_field(kernel_size, num_layers, W)


def test_rows_may_continue_below_the_image() -> None:
    net = network(num_layers=1)
    x = torch.randint(K, (1, 3 * H * W), generator=torch.Generator().manual_seed(3))
    whole, _ = net(x)
    below, _ = net(x[:, H * W :])
    rows = int(net.receptive_field) // W  # rows whose field is cut off in the second run
    torch.testing.assert_close(below[:, rows * W :], whole[:, (H + rows) * W :])


def test_the_state_is_limited_to_the_visible_rows() -> None:
    net = network(num_layers=1, kernel_size=3)
    state = None
    x = torch.randint(K, (1, 5 * W), generator=torch.Generator().manual_seed(3))
    for t, x_t in enumerate(x.split(1, 1), 1):
        _, state = net(x_t, state)
        assert state.shape[1] == (t if t < W else W + t % W)
    assert net.stepper().state_bytes == net.stepper(3).state_bytes


def test_depth_lets_the_last_pixel_see_the_first_up_to_20_layers() -> None:
    def depth(grid: tuple[int, int], **fields: Any) -> int:
        return PixelCnn(**fields).depth(Signature(grid=grid))

    assert depth((28, 28)) == 14
    assert depth((25, 40)) == 20
    assert depth((64, 64)) == 20
    assert depth((1, 1)) == 1
    assert depth((28, 28), kernel_size=7) == 9
    assert depth((28, 28), num_layers=3) == 3


def test_tasks_other_than_images_are_not_supported() -> None:
    signature = Signature(grid=None)
    assert models.load("pixelcnn").supports(signature) == "its steps are not the pixels of an image"
    with pytest.raises(ValueError, match="pixelcnn does not support this task: its steps are not"):
        models.network("pixelcnn", signature, width=4)
