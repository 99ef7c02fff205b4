"""A network of timm as a backbone: features only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convscope.data.image_data import ImageData
from convscope.data.preprocessing import Preprocessing
from convscope.errors import RunError
from convscope.layers import dense, flatten
from convscope.model_file import Model
from convscope.net import Net
from convscope.nets.timm_features import CARD, PREFIX, TimmFeatures, head_shape, load_features
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.head import Head

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class TimmBackbone(Backbone):
    """What `Backbone` is for our own networks; only its features can be used."""

    timm: TimmFeatures

    @classmethod
    def named(cls, name: str, *, offline: bool = False) -> TimmBackbone:
        """`timm/resnet50` and the like; raises as `load_features` does."""
        found = load_features(name.removeprefix(PREFIX), offline=offline)
        origin = f"{found.name} of timm {found.version}; the result needs timm to run"
        net = Net(flatten(), dense(found.width))  # stands in for layers that are not ours
        return cls(name, found.name, net, {}, found.preprocessing, origin, found)

    @cached_property
    def digest(self) -> str:
        """That of its weights."""
        return self.timm.digest

    @cached_property
    def middle(self) -> None:
        """Not known: its layers are not ours."""
        return None

    def width(self, input_shape: tuple[int, int, int]) -> int:
        return self.timm.width

    def features(self, input_shape: tuple[int, int, int], twice: bool) -> nn.Module:  # type: ignore[override]
        return self.timm.module

    def preprocessing_for(self, channels: int, size_px: tuple[int, int] | None = None) -> Preprocessing:
        own = self.preprocessing
        if channels != own.channels or size_px not in (None, own.size_px):
            raise RunError(
                f"pictures of {channels} channels and {size_px or own.size_px} px for {self.name}",
                f"{own.channels} channels and {own.size_px} px, as timm has it",
                "Leave --size out, or take one of our own backbones",
            )
        return own

    def with_classes(self, twice: bool) -> Net:
        raise RunError(
            f"fine-tuning or training of {self.name}, whose layers are timm's",
            "--mode extract, for which its features are enough",
            "Leave --mode out, or take one of our own backbones, such as efficientnet-lite0",
        )

    def assembled(self, data: ImageData, head: Head, twice: bool, card: dict[str, Any]) -> Model:
        """The head alone, with what is needed to find the rest; `load_model` puts it together."""
        shape = head_shape(self.timm.width)
        net = Net(flatten(), dense(len(data.class_names)))
        module = net.build(shape).eval()
        module.load_state_dict({"dense1.weight": head.weight, "dense1.bias": head.bias})
        prepared = Preprocessing(shape[1:], shape[0])
        return Model(
            net, module, shape, data.class_names, prepared, {**card, CARD: self.timm.card(data.preprocessing)}
        )
