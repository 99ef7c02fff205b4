"""Training: recipes, the loop, checkpoints, and the run folder.

train(data, net, recipe, …) -> Run        everything in one call
recipes.get("fast"), recipes.names()      what a recipe is made of is in its module and exported here
events                                    what listeners receive
"""

from __future__ import annotations

from convscope.training import events, recipes
from convscope.training.averaging import Averaging
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
from convscope.training.optimizers import SGD, Adadelta, Adam, AdamW, RMSprop
from convscope.training.recipes import Recipe
from convscope.training.result import Run
from convscope.training.schedules import Constant, Cosine, OneCycle, StepDown
from convscope.training.start import train
from convscope.training.stopping import EarlyStopping

__all__ = [
    "SGD",
    "Adadelta",
    "Adam",
    "AdamW",
    "Averaging",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "EpochEnd",
    "Event",
    "Finished",
    "Listener",
    "Note",
    "OneCycle",
    "RMSprop",
    "Recipe",
    "Run",
    "Saved",
    "Started",
    "Step",
    "StepDown",
    "events",
    "recipes",
    "train",
]
