"""Everything that makes a network run fast: the fast form, the machine plan, random numbers, scoring."""

from convscope.engine.fast import Fast, fast
from convscope.engine.plan import Plan, make_plan
from convscope.engine.random import Draw, key, order
from convscope.engine.scoring import Scoring, measure

__all__ = ["Draw", "Fast", "Plan", "Scoring", "fast", "key", "make_plan", "measure", "order"]
