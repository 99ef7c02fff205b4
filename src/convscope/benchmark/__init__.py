"""How fast this machine trains, beside plain PyTorch and beside what the chip can do. The verb is `bench`."""

from convscope.benchmark.measuring import bench, machine_plan
from convscope.benchmark.report import Bench, MachinePlan

__all__ = ["Bench", "MachinePlan", "bench", "machine_plan"]
