"""Networks of timm as features: what they make of pictures is ours to learn from, they themselves stay timm's.

A model that was made from one keeps our head, the network's name, timm's version and a digest of its weights. Its file
holds the head alone, so loading it needs timm, and says so; the net in it is that of the head.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convscope.data.preprocessing import Preprocessing
from convscope.errors import DataError, MissingExtraError, ModelFileError, did_you_mean
from convscope.inference import infer
from convscope.reference import Network

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convscope.model_file import Model

PREFIX = "timm/"
CARD = "timm"
_PUBLISHED = re.compile(r"[a-z0-9_]{1,80}(\.[a-z0-9_]{1,80})?")


@dataclass(frozen=True, eq=False)
class TimmFeatures:
    """A network of timm without its classes.

    Attributes:
        name: as timm has it.
        version: timm's.
        module: images (N, C, H, W) → features (N, width).
        width: how many features.
        preprocessing: how pictures are prepared for it.
        digest: SHA-256 (hex) of its weights.
    """

    name: str
    version: str
    module: nn.Module
    width: int
    preprocessing: Preprocessing
    digest: str

    def card(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """What a model keeps of it, and how its pictures were prepared."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.digest,
            "preprocessing": preprocessing.to_json(),
        }


def load_features(name: str, *, offline: bool = False) -> TimmFeatures:
    """The network of this name with its published weights, in evaluation mode, on the CPU.

    Weights that are in the Hugging Face cache are taken from there, without asking for newer ones.

    Raises:
        MissingExtraError: timm is not installed.
        ModelFileError: timm knows no such network.
        DataError: its weights are not at hand and cannot be fetched, or must not be, as `offline` says.
    """
    timm = _timm(name)
    published = timm.get_pretrained_cfg(name)
    kept = _kept(published.hf_hub_id) if published and published.hf_hub_id else None
    if offline and kept is None and (published or name.startswith("hf")):  # hf-hub:… names are timm's, too
        raise _not_at_hand(name, ", and --offline fetches nothing")
    overlay = {"pretrained_cfg_overlay": {"file": kept}} if kept else {}
    try:
        module = timm.create_model(name, pretrained=True, num_classes=0, **overlay).eval()
    except RuntimeError as error:
        choices = timm.list_models(pretrained=True)
        raise ModelFileError(
            f"no backbone {PREFIX + name!r}: timm {timm.__version__} says {str(error)[:200]}",
            "a network that timm has weights for",
            did_you_mean(name, choices) or "timm.list_models(pretrained=True) lists them",
        ) from error
    except OSError as error:
        raise _not_at_hand(name, " and timm cannot fetch them") from error
    config = timm.data.resolve_model_data_config(module)
    channels, height, width = config["input_size"]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    prepared = Preprocessing((height, width), channels, mean=mean, std=std)
    return TimmFeatures(name, timm.__version__, module, module.num_features, prepared, _digest(module))


def _kept(hub_id: str) -> str | None:
    """The file of weights in the Hugging Face cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache  # timm brings it

    found = try_to_load_from_cache(hub_id, "model.safetensors")
    return found if isinstance(found, str) else None


def _not_at_hand(name: str, why: str) -> DataError:
    return DataError(
        f"the weights of {PREFIX}{name} are not at hand{why}",
        "a network connection, or the weights in the Hugging Face cache",
        "Take --from efficientnet-lite0, whose weights come with a package",
    )


def _timm(name: str) -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise MissingExtraError(
            f"{PREFIX}{name} needs timm to run, and it is not installed",
            "the package timm",
            'Install it with: pip install "convscope[timm]"',
        ) from error
    return timm


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"|{name} {tuple(tensor.shape)}|".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class TimmNetwork(Network):
    """timm's features and our head as one module: images (N, C, H, W) → scores (N, K)."""

    def __init__(self, features: nn.Module, head: Network, input_shape: tuple[int, int, int]) -> None:
        super().__init__(head.net, infer(head.net.layers, head.input_shape))
        self.load_state_dict(head.state_dict())
        self.add_module("timm", features)
        self.input_shape = input_shape
        self.paths[0].insert(0, "timm")
        self.scored.insert(0, "timm")


def completed(model: Model) -> Model:
    """A model whose file holds a head for timm's features, with those features before it.

    Raises:
        MissingExtraError: timm is not installed.
        ModelFileError: the card is not as it must be, or timm's weights are others than those it was made with.
    """
    card = model.card[CARD]
    if not isinstance(card, dict) or not isinstance(card.get("name"), str):
        raise ModelFileError("a model for timm that does not say which network", "its name on the card")
    if not _PUBLISHED.fullmatch(card["name"]):  # timm would fetch hf-hub:… and run what local-dir:… names
        raise ModelFileError(
            f"a model for the network {card['name']!r:.80} of timm",
            "the name of a network in timm's own list: letters, digits, underscores and a dot",
            "Open only models from someone you trust with timm",
        )
    found = load_features(card["name"])
    if found.digest != card.get("sha256"):
        raise ModelFileError(
            f"timm {found.version} has other weights for {found.name} than this model was made with"
            f" (timm {card.get('version')})",
            "the same weights, for the head knows no others",
            f"Install timm {card.get('version')}, or make the model again",
        )
    try:
        prepared = Preprocessing.from_json(card.get("preprocessing"))
    except DataError as error:
        raise ModelFileError(f"a model for timm with a preprocessing that cannot be used: {error}") from error
    shape = prepared.input_shape
    return replace(
        model,
        module=TimmNetwork(found.module, model.module, shape).eval(),
        input_shape=shape,
        preprocessing=prepared,
    )


def head_shape(width: int) -> tuple[int, int, int]:
    """The shape (1, 1, width) that a head's own file says its input has: features, not pictures."""
    return (1, 1, width)


def scores_of(head: Network, features: Tensor) -> Tensor:
    """Scores (N, K) of features (N, width) by a head that was made for `head_shape`."""
    scores: Tensor = head(features[:, None, None, :])
    return scores
