"""Training: recipes, the loop, checkpoints, and the run folder.

train(data, net, recipe, …) -> Run        everything in one call
recipes.get("fast"), recipes.names()      what a recipe is made of is in its module and exported here
events                                    what listeners receive
"""

from __future__ import annotations

from convscope.training import events, recipes
from convscope.training.augmentation import Augmentation
from convscope.training.averaging import Averaging, Lookahead, Midway
from convscope.training.events import (
    EpochEnd,
    Event,
    Finished,
    Listener,
    Note,
    Saved,
    Started,
    Step,
)
from convscope.training.optimizers import SGD, Adadelta, Adam, AdamW, Muon, RMSprop
from convscope.training.rates import RateFactors
from convscope.training.recipe import Recipe
from convscope.training.result import Run
from convscope.training.schedules import Constant, Cosine, OneCycle, StepDown
from convscope.training.start import train
from convscope.training.stopping import EarlyStopping
from convscope.training.whitening import Whitening

__all__ = [
    "SGD",
    "Adadelta",
    "Adam",
    "AdamW",
    "Augmentation",
    "Averaging",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "EpochEnd",
    "Event",
    "Finished",
    "Listener",
    "Lookahead",
    "Midway",
    "Muon",
    "Note",
    "OneCycle",
    "RMSprop",
    "RateFactors",
    "Recipe",
    "Run",
    "Saved",
    "Started",
    "Step",
    "StepDown",
    "Whitening",
    "events",
    "recipes",
    "train",
]
