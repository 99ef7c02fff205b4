"""resnet18_small and cifar_resnet20 at 32 px from other people's parts, trained on noise as PyTorch users do.

    python small_nets_torch.py --net resnet18_small --code torchvision|timm [--precision bfloat16]
    python small_nets_torch.py --net cifar_resnet20 --code plain [--precision bfloat16]

channels_last; bfloat16 is autocast; SGD with momentum; all images in memory. The layer tables are those of ours:
`parameters` in the answer lets the runner see that they are.
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from common import BATCH_SIZE, Window, arguments
from torch import Tensor, nn

IMAGES = 10_000
WIDTHS = (32, 64, 128, 256)


def from_torchvision() -> nn.Module:
    """torchvision's ResNet-18 with half the widths and a first convolution that moves by 1."""
    from torchvision.models.resnet import BasicBlock, ResNet

    model = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    model.inplanes = WIDTHS[0]
    model.conv1 = nn.Conv2d(3, WIDTHS[0], 7, stride=1, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(WIDTHS[0])
    for number, width in enumerate(WIDTHS, start=1):
        setattr(
            model, f"layer{number}", model._make_layer(BasicBlock, width, 2, stride=1 if number == 1 else 2)
        )
    model.fc = nn.Linear(WIDTHS[-1], 10)
    return model


def from_timm() -> nn.Module:
    """timm's ResNet-18 with half the widths and a first convolution that moves by 1."""
    from timm.models.resnet import BasicBlock, ResNet

    model = ResNet(BasicBlock, (2, 2, 2, 2), num_classes=10, channels=WIDTHS)
    model.conv1 = nn.Conv2d(3, WIDTHS[0], 7, stride=1, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(WIDTHS[0])
    model.layer1 = nn.Sequential(BasicBlock(WIDTHS[0], WIDTHS[0]), BasicBlock(WIDTHS[0], WIDTHS[0]))
    return model


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut without parameters."""

    def __init__(self, maps: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.new_maps = stride, width - maps

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new_maps:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_maps))
        return F.relu(out + x)


class CifarResNet20(nn.Module):
    """The paper's 20 layers for CIFAR-10, as PyTorch repositories write them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        shapes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.Sequential(*(Block(*shape) for shape in shapes))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


MODELS = {
    ("resnet18_small", "torchvision"): from_torchvision,
    ("resnet18_small", "timm"): from_timm,
    ("cifar_resnet20", "plain"): CifarResNet20,
}


def main() -> None:
    options = arguments("net", "code", "precision")
    narrow = options.precision == "bfloat16"
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if narrow else contextlib.nullcontext()
    model = MODELS[options.net, options.code]().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8).float() / 255
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (IMAGES,))
    window, over = Window(options), False
    while not over:
        for chosen in torch.randperm(IMAGES).split(BATCH_SIZE)[:-1]:
            optimizer.zero_grad()
            with autocast:
                loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            if over := window.is_over_after_step():
                break
    parameters = sum(parameter.numel() for parameter in model.parameters())
    window.print_images_per_s(parameters=parameters, version=f"torch {torch.__version__}")


if __name__ == "__main__":
    main()
