"""The file `checkpoint`: everything needed to go on with the same bits. Safetensors and JSON, never a pickle.

model.<name>              the network's parameters and buffers
optimizer.<index>.<slot>  the optimizer's memory of parameter number <index>
average.<name>            the moving average of the weights, where the recipe keeps one
best.<name>               the best weights so far, where the recipe may stop early
totals                    (3,) loss sum, right answers and images of the epoch so far
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from convscope.engine.scoring import Scoring
from convscope.errors import ConvscopeError, RunError
from convscope.model_file import read_container, write_container

KIND = "convscope checkpoint"
FORMAT_VERSION = 1
MOST = 1e300  # a whole number above 1e308 is no float; and no loss, and no second, is as large
NOT_AS_WRITTEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError)
"""What comes of using a checkpoint that no training wrote."""


@dataclass
class Validated:
    """One evaluation on the validation split, and after which step it was made."""

    step: int
    loss: float
    accuracy: float
    balanced_accuracy: float | None = None

    @classmethod
    def of(cls, step: int, scoring: Scoring) -> Validated:
        """What was measured."""
        return cls(step, scoring.loss, scoring.accuracy, scoring.balanced_accuracy)


@dataclass
class LoopState:
    """Where a run stands, apart from its tensors.

    Attributes:
        step: steps made.
        evaluated_step: the step whose end of epoch was last dealt with.
        logged: totals (loss sum, right answers, images) at the last kept `Step` of this epoch.
        history_lines: lines of `history.jsonl` that belong to this state, and history_digest: their SHA-256; None in
            the first checkpoints.
        last, best: the newest and the best evaluation.
        waited: evaluations in a row that were no better than the best.
        stopped: whether early stopping has ended the training.
        train_s, wall_s: clocks so far, over all sittings; epoch_began_s: `train_s` when this epoch began.
        result: what a finished run reports; None until then.
    """

    step: int = 0
    evaluated_step: int = 0
    logged: tuple[float, float, float] = (0.0, 0.0, 0.0)
    history_lines: int = 0
    last: Validated | None = None
    best: Validated | None = None
    waited: int = 0
    stopped: bool = False
    train_s: float = 0.0
    wall_s: float = 0.0
    epoch_began_s: float = 0.0
    resumed_from_step: int | None = None
    result: dict[str, Any] | None = None
    history_digest: str | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LoopState:
        """Raises KeyError, TypeError or ValueError where it is no state."""
        values = {each.name: document[each.name] for each in fields(cls) if each.name != "history_digest"}
        for name in ("last", "best"):
            values[name] = Validated(**values[name]) if values[name] else None
        digest = document.get("history_digest")
        state = cls(**{**values, "logged": tuple(values["logged"])}, history_digest=digest)
        state._check()
        return state

    def _check(self) -> None:
        """The digest of a file keeps accidents out; these keep out a state that no loop was ever in."""
        counts = [self.step, self.evaluated_step, self.history_lines, self.waited]
        counts += [self.resumed_from_step] if self.resumed_from_step is not None else []
        seen = [validated for validated in (self.last, self.best) if validated]
        counts += [validated.step for validated in seen]
        numbers = [*self.logged, self.train_s, self.wall_s, self.epoch_began_s]
        numbers += [number for validated in seen for number in (validated.loss, validated.accuracy)]
        if not all(type(count) is int and 0 <= count < 2**53 for count in counts):
            raise ValueError("a count that is none")
        if len(self.logged) != 3 or not all(type(n) in (int, float) and abs(n) < MOST for n in numbers):
            raise ValueError("a number that is none")
        if type(self.stopped) is not bool or not isinstance(self.result, dict | None):
            raise ValueError("an end that is none")
        if not isinstance(self.history_digest, str | None):
            raise ValueError("a digest that is none")


@dataclass
class Checkpoint:
    """A loop's state and tensors, and the digest of the configuration they belong to."""

    configuration: str
    state: LoopState
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write beside and rename."""
        document = {"configuration": self.configuration, "state": asdict(self.state)}
        write_container(path, KIND, FORMAT_VERSION, document, self.tensors)

    @classmethod
    def read(cls, path: Path, configuration: str) -> Checkpoint:
        """Read and check a checkpoint; its tensors are on the CPU.

        Raises:
            RunError: the file is damaged or belongs to another configuration.
        """
        try:
            with path.open("rb"):
                document = read_container(path, KIND, FORMAT_VERSION).document
            state = LoopState.from_json(document["state"])
            tensors = safetensors.torch.load_file(path)
        except OSError as error:
            raise RunError(
                f"the checkpoint {path} cannot be read: {error.strerror}",
                "a file that may be read",
                "Give yourself the right to read it",
            ) from error
        except (safetensors.SafetensorError, *NOT_AS_WRITTEN) as error:
            raise damaged(path, error) from error
        if document.get("configuration") != configuration:
            raise RunError(
                f"{path.parent / 'config.json'} was changed after {path} was written",
                "the configuration that the checkpoint was made with",
                "Put it back, or start again with --overwrite",
            )
        return cls(configuration, state, tensors)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name`, by their names there; empty where there are none."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)
        }


def damaged(path: Path, error: Exception) -> RunError:
    """The error for a checkpoint that is not as it was written."""
    why = error.received if isinstance(error, ConvscopeError) else str(error)
    return RunError(
        f"the checkpoint {path} is damaged: {why}",
        "the file that convscope train wrote",
        f"Delete it to start over with the same {path.parent / 'config.json'}, or start again with --overwrite",
    )


def require_same_shapes(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of the run: torch would spread or cast them without a word.

    Raises:
        ValueError: one is missing, or has another shape.
    """
    for name, target in targets.items():
        if name not in sources or sources[name].shape != target.shape:
            raise ValueError(f"no tensor {name!r:.80} of shape {tuple(target.shape)}")


def named_part(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under `name`, the other way round."""
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's memory as "<index>.<slot>" → tensor; slots that hold nothing yet are left out."""
    memory = optimizer.state_dict()["state"]
    return {
        f"{index}.{slot}": value
        for index, slots in memory.items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give `optimizer` the memory that `optimizer_tensors` took.

    What has a parameter's shape gets the parameter's layout in memory: torch's fused CPU steps read the raw numbers of
    both side by side, and a momentum in another layout would silently be mixed up.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    memory: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, slot = key.partition(".")
        parameter = parameters[int(index)]
        if value.ndim and value.shape != parameter.shape:
            raise ValueError(f"the optimizer's {key!r:.80} as {tuple(value.shape)}")
        memory.setdefault(int(index), {})[slot] = _laid_out_like(parameter, value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": memory})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter.detach()).copy_(value) if value.shape == parameter.shape else value
