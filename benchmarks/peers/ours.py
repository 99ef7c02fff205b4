"""Ours: the training loop of `convscope train` under the machine plan, or the measured limit of its step.

python ours.py --data mnist.npz --net lecture [--precision float32]
python ours.py --net cifar_resnet20                    noise at 32 px, SGD with momentum
python ours.py --net lecture --limit yes [--precision float32]
"""

from __future__ import annotations

import numpy as np
from common import BATCH_SIZE, answer, arguments

import convscope
from convscope import nets
from convscope.benchmark.contestants import Task, Turn, random_images, train
from convscope.benchmark.limit import step_limit
from convscope.engine.trial import plan_for
from convscope.training.optimizers import SGD
from convscope.training.recipes import Recipe, get

MANY_STEPS = 10**6


def main() -> None:
    options = arguments("net", "precision", "limit")
    entry = nets.get(options.net)
    net = entry.net.bind(10)
    plan = plan_for(net, entry.input_shape, BATCH_SIZE, precision=options.precision or "auto")
    task = Task(net, entry.input_shape, BATCH_SIZE, plan)
    if options.limit:
        plan.apply()
        found = step_limit(net, entry.input_shape, BATCH_SIZE, plan)
        return answer({**found.to_json(), "version": f"convscope {convscope.__version__}"})
    rates: list[float] = []
    turns = iter([Turn(options.seconds, options.warm_steps), Turn(options.seconds, options.steps)])
    recipe = get("lecture").adjusted(steps=MANY_STEPS)
    if options.data:
        with np.load(options.data) as arrays:
            data = convscope.from_arrays(arrays["x_train"], arrays["y_train"], name="digits")
    else:
        data = random_images(task)
        recipe = Recipe(
            "momentum", SGD(rate=0.01, momentum=0.9, nesterov=False), steps=MANY_STEPS, hold_out=0.0
        )
    train(task, data, recipe, turns, rates.append)
    version = f"convscope {convscope.__version__}, {plan.precision}{', compiled' if plan.compiled else ''}"
    parameters = net.infer(entry.input_shape).parameters
    return answer(
        {"images_per_s": rates[-1], "parameters": parameters, "precision": plan.precision, "version": version}
    )


if __name__ == "__main__":
    main()
