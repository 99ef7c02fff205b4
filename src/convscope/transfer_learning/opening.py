"""The beginning that every transfer shares: the machine, the backbone and the pictures, with everything checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convscope.engine.plan import Plan, make_plan
from convscope.training.folder import RunFolder
from convscope.training.telling import Teller
from convscope.transfer_learning import backbones
from convscope.transfer_learning.backbones import Backbone
from convscope.transfer_learning.material import Material, material
from convscope.transfer_learning.wish import Wish


@dataclass(frozen=True, eq=False)
class Opened:
    """Where to compute, where the features come from, and the pictures as that takes them."""

    plan: Plan
    backbone: Backbone
    ready: Material


def opened(wish: Wish, teller: Teller) -> Opened:
    """What the wish needs, found and read; what there is to say is told.

    Raises:
        ConvscopeError: something the user can mend; nothing was touched.
    """
    source = wish.source
    if wish.out is not None:
        RunFolder(Path(wish.out).expanduser()).require_free(wish.overwrite)
    plan = make_plan(wish.device)
    backbone = backbones.find(wish.backbone, data_dir=wish.data_dir, offline=wish.offline, say=teller.note)
    ready = material(
        source,
        backbone,
        seed=wish.seed,
        size_px=wish.size_px,
        fit=wish.fit,
        data_dir=wish.data_dir,
        offline=wish.offline,
        salvage=wish.salvage,
        most_unreadable=wish.most_unreadable,
        say=teller.note,
    )
    for note in ready.notes:
        teller.note(note)
    return Opened(plan, backbone, ready)
