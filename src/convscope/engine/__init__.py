"""Everything that makes a network run fast: the fast form, the machine plan, random numbers, scoring."""

from convscope.engine.fast import Fast, fast
from convscope.engine.optimizers import fast_optimizer
from convscope.engine.plan import Plan, make_plan
from convscope.engine.random import Draw, key, order
from convscope.engine.scoring import Scoring, measure
from convscope.engine.trial import plan_for

__all__ = [
    "Draw",
    "Fast",
    "Plan",
    "Scoring",
    "fast",
    "fast_optimizer",
    "key",
    "make_plan",
    "measure",
    "order",
    "plan_for",
]
