"""Any torch module can be inspected; convolution and linear MACs are half of what torch's flop counter says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convscope.errors import ShapeError
from convscope.inspection import Inspection, inspect
from convscope.net import Net


def counted_by_torch(module: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *shape, device=next(module.parameters()).device))
    return counter.get_total_flops() // 2


def test_torchvisions_resnet18_on_the_meta_device() -> None:
    from torchvision.models import resnet18

    with torch.device("meta"):
        module = resnet18()
    seen = inspect(module, (3, 224, 224))
    assert (seen.parameters, seen.macs, seen.macs_elsewhere) == (11_689_512, 1_814_073_344, 0)
    assert seen.macs == counted_by_torch(module, (3, 224, 224))
    ours = inspect("resnet18")
    assert (ours.inference.parameters, ours.inference.macs) == (seen.parameters, seen.macs)
    assert seen.to_json()["layers"][0]["name"] == "conv1"
    assert "1,814,073,344 MACs a picture" in seen.render()


ODD: list[tuple[nn.Module, tuple[int, ...]]] = [
    (
        nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.ReLU(), nn.Conv2d(8, 8, (1, 3), dilation=2)),
        (4, 15, 15),
    ),
    (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.Conv2d(6, 2, 1, bias=False)),
        (4, 7, 9),
    ),
    (nn.Sequential(nn.Conv1d(3, 5, 3), nn.ConvTranspose1d(5, 2, 2)), (3, 20)),
    (nn.Sequential(nn.Conv3d(2, 3, 2), nn.Flatten(), nn.Linear(3 * 27, 5)), (2, 4, 4, 4)),
    (nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (9, 6)),
]


@pytest.mark.parametrize(("module", "shape"), ODD)
def test_odd_modules_agree_with_torchs_counter(module: nn.Module, shape: tuple[int, ...]) -> None:
    seen = inspect(module, shape)
    assert (seen.macs, seen.macs_elsewhere) == (counted_by_torch(module, shape), 0)
    assert seen.parameters == sum(p.numel() for p in module.parameters())


class Twice(nn.Module):
    """One convolution used twice, a matrix product outside any module, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.mix = nn.Parameter(torch.eye(5))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(self.conv(images)) @ self.mix}


def test_what_is_used_twice_counts_its_parameters_once_and_its_macs_twice() -> None:
    seen = inspect(Twice(), (2, 5, 5))
    assert [(call.name, call.parameters, call.macs) for call in seen.calls] == [
        ("conv", 38, 900), ("conv", 0, 900), ("Twice", 25, 0),
    ]  # fmt: skip
    assert (seen.parameters, seen.macs, seen.macs_elsewhere) == (63, 1800, 250)
    assert "250 MACs more outside them" in seen.render()


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    module[1].eval()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    inspect(module, (1, 8, 8))
    assert [part.training for part in module] == [True, False, True]
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


class LooksAtNumbers(nn.Module):
    """A forward that the meta device cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.conv(images)
        return made if made.sum().item() > 1e9 else made + 1


def test_a_module_that_looks_at_numbers_is_run_for_real() -> None:
    assert inspect(LooksAtNumbers(), (1, 6, 6)).macs == 9 * 16


def test_our_own_network_is_inspected_as_its_net() -> None:
    network = Net.parse("conv(2, 3), flatten, dense(4)").build((1, 6, 6))
    seen = inspect(network)
    assert isinstance(seen, Inspection)
    assert seen.inference.input_shape == (1, 6, 6)


def test_a_module_that_refuses_its_input_says_why() -> None:
    with pytest.raises(
        ShapeError, match=r"Conv2d refuses a picture of 3×8×8: .*channels.*the shape of one picture"
    ):
        inspect(nn.Conv2d(1, 2, 3), (3, 8, 8))
    with pytest.raises(
        ShapeError, match=r"a Conv2d without an input shape.*inspect\(module, \(3, 224, 224\)\)"
    ):
        inspect(nn.Conv2d(1, 2, 3))
