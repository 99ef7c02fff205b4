"""The loop: one straight line. Time to evaluate, save, stop? Gather, forward, loss, backward, rate, step, log.

It knows nothing of precision, layout or terminals: `engine.fast` and the plan decide the first two, listeners take
the events. Everything needed to go on is in `state` and a few named tensors, so that a resumed run gives the same bits
as one that was never interrupted.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from convscope.engine.fast import fast
from convscope.engine.optimizers import fast_optimizer
from convscope.engine.random import Draw
from convscope.engine.scoring import measure
from convscope.errors import DivergedError, Interrupted, RunError
from convscope.model_file import Model, save_model
from convscope.reference import Network
from convscope.training.averaging import Average
from convscope.training.checkpoint import (
    NOT_AS_WRITTEN,
    Checkpoint,
    LoopState,
    Validated,
    damaged,
    named_part,
    optimizer_tensors,
    require_same_shapes,
    restore_optimizer,
)
from convscope.training.configuration import Configuration
from convscope.training.course import Course
from convscope.training.events import EpochEnd, Finished, Saved, Step
from convscope.training.feeding import Feed
from convscope.training.folder import History, RunFolder
from convscope.training.material import Material, copy_into, resident, weights_of
from convscope.training.memory import is_out_of_memory, too_little
from convscope.training.meter import Meter, Speedometer, Totals
from convscope.training.optimizers import parameter_groups, set_rate
from convscope.training.rates import rates
from convscope.training.result import card, result
from convscope.training.stopwatch import Stopwatch
from convscope.training.telling import Teller
from convscope.training.thawing import Thaw
from convscope.training.turns import Turns

SAVE_EVERY_S = 30.0
SHORT_S = 1.0
LOGS_PER_RUN = 200
STEPS_PER_LOG_LIMIT = 50


class Loop:
    """One run, from its first step or its checkpoint to a judged model."""

    def __init__(
        self,
        configuration: Configuration,
        material: Material,
        module: Network,
        course: Course,
        folder: RunFolder,
        tell: Teller,
        began_at: float,
    ) -> None:
        self.configuration, self.material, self.course, self.folder = configuration, material, course, folder
        self.recipe, self.plan, self.tell = configuration.recipe, configuration.plan, tell
        self.preprocessing = material.data.preprocessing

        self.thaw = Thaw(self.recipe.thawing, module)
        self.module, self.fast = module, fast(module, self.plan, self.thaw.settled(module)).train()
        self.weights = dict(module.state_dict())  # the parameters and buffers themselves, by name
        self.feed = Feed(material, self.recipe, configuration.seed, self.plan)
        own = self.thaw.rates(rates(module, self.recipe.rate_factors, self.recipe.whitening))
        groups = parameter_groups(module.named_parameters(), self.recipe.optimizer.weight_decay, own)
        self.optimizer = fast_optimizer(self.recipe.optimizer.build(groups), self.plan)
        averaging = self.recipe.averaging
        self.average = Average(averaging, self.weights, course.steps) if averaging else None
        self.best: dict[str, Tensor] = {}
        self.meter = Meter(self.plan.device)

        self.state, self.watch = LoopState(), Stopwatch()
        self.speed = Speedometer(self.watch, 0, 0)
        self.log_every = max(1, min(STEPS_PER_LOG_LIMIT, course.steps // LOGS_PER_RUN))
        self.began_at, self.wall_before_s = began_at, 0.0
        self.saved_at, self.save_now = time.perf_counter(), False
        self.finite_step = 0
        self.saved_step: int | None = None  # of the checkpoint on the disk

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint: every tensor gets its value back in the layout in memory that it has here.

        Raises:
            RunError: it is not of this run.
        """
        try:
            self._restore(checkpoint)
        except NOT_AS_WRITTEN as error:
            raise damaged(self.folder.checkpoint, error) from error

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.state = checkpoint.state
        if not self.state.evaluated_step <= self.state.step <= self.course.steps:
            raise ValueError(f"step {self.state.step} of {self.course.steps}")
        self.state.resumed_from_step = self.finite_step = self.saved_step = self.state.step
        model, best = checkpoint.part("model"), checkpoint.part("best")
        require_same_shapes(self.weights, model)
        copy_into(self.weights, model)
        restore_optimizer(self.optimizer, checkpoint.part("optimizer"))
        if self.average:
            require_same_shapes(self.average.tensors, checkpoint.part("average"))
            copy_into(self.average.tensors, checkpoint.part("average"))
        if best:
            require_same_shapes(self.weights, best)
        self.best = {name: tensor.to(self.plan.device) for name, tensor in best.items()}
        require_same_shapes({"totals": self.meter.totals}, checkpoint.tensors)
        self.meter.totals.copy_(checkpoint.tensors["totals"])
        self.watch, self.wall_before_s = Stopwatch(self.state.train_s), self.state.wall_s

    # ---- the line ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train to the end, judge the model, and return the result.

        Raises:
            Interrupted: someone asked to stop; model, history and checkpoint are saved. Who asks twice does not wait,
                and the last checkpoint is untouched.
            DivergedError: the loss or a weight is no longer a finite number; the last checkpoint is untouched.
            RunError: the memory is not enough, or a file cannot be written; the last checkpoint is untouched.
        """
        try:
            with ExitStack() as stack:
                stack.enter_context(self.tell.stop.listening())
                self.history = self.tell.history = History(
                    self.folder.history, self.state.history_lines, self.state.history_digest
                )
                stack.callback(self.history.close)
                self.train()
                return self.finish()
        except Interrupted:
            raise
        except KeyboardInterrupt:
            step = f"step {self.state.step:,} of {self.course.steps:,}"
            raise Interrupted(self.folder.path, f"Stopped at once after {step}. {self.left}") from None
        except OSError as error:
            raise self.folder.cannot_write(error, f"Mend that. {self.left}") from error
        except (MemoryError, RuntimeError) as error:
            raise self.explained(error) from error

    def explained(self, error: Exception) -> Exception:
        """What the user can do about memory that ran out, or a step that has no deterministic form; else the error."""
        if is_out_of_memory(error):
            left = self.left if self.saved_step is not None else None
            when = f" after step {self.state.step:,}"
            return too_little(self.course.batch_size, self.material.data.input_shape, when, left)
        if self.plan.deterministic and "deterministic" in str(error):
            return RunError(
                f"--deterministic, and on {self.plan.device} torch says: {error!s:.200}",
                "a network all of whose steps have a deterministic form there",
                "Leave it out, or try --device cpu, where every run is deterministic",
            )
        return error

    @property
    def left(self) -> str:
        """What is on the disk, and how to go on."""
        run = shlex.quote(str(self.folder.path))
        if self.saved_step is None:
            return f"Nothing was saved yet; begin again with --overwrite --out {run}"
        at = f"The checkpoint of step {self.saved_step:,} is whole"
        return f"{at}; go on with: convscope train --resume --out {run}"

    def train(self) -> None:
        """Step until the course is run or early stopping ends it."""
        state = self.state
        self.speed = Speedometer(self.watch, state.step, self.course.images_at(state.step))
        self.saved_at = time.perf_counter()
        while True:
            if self.course.ends_epoch(state.step) and state.evaluated_step < state.step:
                self.end_epoch()
            if self.save_is_due:
                self.save()
            if self.tell.stop.made:
                self.interrupt()
            if self.is_over:
                return
            self.watch.start()
            turns = self.next_turns()  # B of them
            images, target = self.feed(turns)  # (B, C, H, W)
            self.fast.set_draw(Draw(self.configuration.seed, state.step, turns.number))
            scores, extra = self.fast.training_forward(images)  # (B, K)
            loss = self.recipe.objective(scores, extra, target)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            set_rate(self.optimizer, self.rate_of(state.step), state.step / self.course.steps)
            self.optimizer.step()
            state.step += 1
            self.meter.add(loss.detach(), scores.detach(), target.labels)
            if self.average:
                self.average.update(state.step, self.weights)
            self.log()

    @property
    def is_over(self) -> bool:
        return self.state.stopped or self.state.step >= self.course.steps

    def rate_of(self, step: int) -> float:
        """The learning rate of the step made after `step` steps."""
        return self.recipe.optimizer.rate * self.recipe.schedule.multiplier(step, self.course.steps)

    def next_turns(self) -> Turns:
        """Which training images have their turn in the step to come, on the device."""
        epoch, position = divmod(self.state.step, self.course.steps_per_epoch)
        if position == 0:
            self.meter.reset()
            self.state.logged, self.state.epoch_began_s = (0.0, 0.0, 0.0), self.watch.total_s
        if self.feed.epoch != epoch:
            self.feed.begin(epoch)
            self.thaw.at(epoch * self.course.steps_per_epoch / self.course.steps)
        return self.feed.turns[self.course.batch_at(position)]

    def log(self) -> None:
        """Tell a `Step`: at fixed steps for the history, and by the clock for those who watch."""
        step = self.state.step
        kept = step % self.log_every == 0 or self.course.ends_epoch(step)
        if not kept and not self.speed.is_due:
            return
        totals = self.read_totals()
        loss, right, seen = (now - before for now, before in zip(totals, self.state.logged, strict=True))
        if kept:
            self.state.logged = totals
        self.tell(
            Step(
                step=step,
                epoch=self.course.epoch_of(step),
                loss=loss / seen,
                accuracy=right / seen,
                images_per_s=self.speed.images_per_s(self.course.images_at(step)),
                seconds_left=self.speed.seconds_left(step, self.course.steps),
                rate=self.rate_of(step - 1),
                steps=self.course.steps,
                live=not kept,
            )
        )

    # ---- the end of an epoch ----------------------------------------------------------------------------------------

    def end_epoch(self) -> None:
        """Evaluate where it is time to, keep the best weights, and tell."""
        self.watch.pause()
        state, (loss, right, images) = self.state, self.read_totals()
        self.require_finite_weights()
        epoch_s, began_at = self.watch.total_s - state.epoch_began_s, time.perf_counter()
        validated = self.validate() if self.course.evaluates(state.step) else None
        evaluation_s = time.perf_counter() - began_at
        if validated:
            self.consider(validated)
        state.evaluated_step = state.step
        self.save_now = validated is not None or self.is_over or began_at - self.saved_at > SHORT_S
        self.tell(
            EpochEnd(
                epoch=self.course.epoch_of(state.step),
                step=state.step,
                loss=loss / images,
                accuracy=right / images,
                validation_loss=validated.loss if validated else None,
                validation_accuracy=validated.accuracy if validated else None,
                epoch_s=epoch_s,
                evaluation_s=evaluation_s,
                images_per_s=images / max(epoch_s, 1e-9),
            )
        )
        if not self.is_over:
            self.watch.start()

    def validate(self) -> Validated | None:
        """Loss and accuracy on the validation split, with the averaged weights where there are some."""
        if self.material.validation is None:
            return None
        images, labels = resident(self.material.validation, self.plan)
        with weights_of(self.module, self.averaged):
            scoring = measure(self.fast, images, labels, self.preprocessing, self.plan)
        if not math.isfinite(scoring.loss):
            raise self.diverged("the validation loss")
        return Validated.of(self.state.step, scoring)

    def consider(self, validated: Validated) -> None:
        """Early stopping: keep the weights if they are the best so far, else lose patience."""
        state, rule = self.state, self.recipe.early_stopping
        state.last = validated
        if rule is None:
            return
        best = (state.best.loss, state.best.accuracy) if state.best else None
        if rule.better(validated.loss, validated.accuracy, best):
            state.best, state.waited = validated, 0
            now = self.averaged or self.weights
            self.best = {name: tensor.detach().clone() for name, tensor in now.items()}
        else:
            state.waited += 1
            state.stopped = state.waited >= rule.patience

    @property
    def averaged(self) -> Mapping[str, Tensor] | None:
        """The averaged weights, from their first update on."""
        if self.average is None or self.state.step < self.average.setting.every:
            return None
        return self.average.model(self.weights)

    # ---- saving and stopping ----------------------------------------------------------------------------------------

    @property
    def save_is_due(self) -> bool:
        """At the end of an epoch, unless it was too short to be worth it, and by the clock."""
        return self.save_now or time.perf_counter() - self.saved_at > SAVE_EVERY_S

    def save(self) -> None:
        """Write model and checkpoint, unless something is no longer a finite number."""
        self.read_totals()
        self.require_finite_weights()
        last = self.state.last
        measured = last if last and last.step == self.state.step else None
        with weights_of(self.module, self.averaged):
            self.write_model(measured, test=None)
        self.write_checkpoint()
        self.saved_step = self.state.step
        self.saved_at, self.save_now = time.perf_counter(), False
        self.tell(Saved(self.state.step, str(self.folder.checkpoint)))

    def write_model(self, validated: Validated | None, test: Validated | None) -> None:
        """Write the model as the module now stands, with the metrics that were measured on these weights."""
        data, step = self.material.data, self.state.step
        model = Model(
            net=self.configuration.net,
            module=self.module,
            input_shape=data.input_shape,
            class_names=data.class_names,
            preprocessing=self.preprocessing,
            card=card(self.configuration, self.course.epochs_at(step), step, validated, test),
        )
        save_model(model, self.folder.model)

    def write_checkpoint(self) -> None:
        """Write everything needed to go on, the history first."""
        state = self.state
        self.history.sync()
        state.history_lines, state.history_digest = self.history.lines, self.history.digest
        state.train_s, state.wall_s = self.watch.total_s, self.wall_s
        tensors = named_part("model", self.weights) | named_part("best", self.best)
        tensors |= named_part("optimizer", optimizer_tensors(self.optimizer)) | {"totals": self.meter.totals}
        tensors |= named_part("average", self.average.tensors) if self.average else {}
        Checkpoint(self.configuration.digest, state, tensors).write(self.folder.checkpoint)

    def interrupt(self) -> None:
        """Save and leave."""
        self.save()
        step, steps, run = self.state.step, self.course.steps, self.folder.path
        raise Interrupted(
            run,
            f"Stopped after step {step:,} of {steps:,}; model and history so far are in {run}. "
            f"Go on with: convscope train --resume --out {shlex.quote(str(run))}",
        )

    def read_totals(self) -> Totals:
        """The epoch's totals so far: the one place where the host waits for the device.

        Raises:
            DivergedError: the loss is no longer a finite number.
        """
        totals = self.meter.read()
        if totals is None:
            raise self.diverged("the loss")
        self.finite_step = self.state.step
        return totals

    def require_finite_weights(self) -> None:
        """Refuse to evaluate or save weights that are not numbers."""
        finite = torch.stack([tensor.isfinite().all() for tensor in self.weights.values()])
        if not bool(finite.all()):
            raise self.diverged("a weight")

    def diverged(self, what: str) -> DivergedError:
        """The error that says what, where, and what is left."""
        first, last = self.finite_step + 1, self.state.step
        where = f"step {last:,}" if first >= last else f"steps {first:,} to {last:,}"
        saved = self.folder.checkpoint.exists()
        good = (
            f"the last good checkpoint in {self.folder.path} is kept"
            if saved
            else "no checkpoint was made yet"
        )
        return DivergedError(
            f"{what} stopped being a finite number at {where}; {good}",
            "a loss that falls",
            f"Try a smaller learning rate than {self.recipe.optimizer.rate:g}, with --rate",
        )

    # ---- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Take the weights that become the model, touch the test split once, write everything."""
        state = self.state
        copy_into(self.weights, self.best or self.averaged or self.weights)
        validated = state.best or state.last
        test = self.test(validated)
        self.write_model(validated, test)
        done = result(
            self.configuration,
            self.folder,
            epochs=self.course.epochs_at(state.step),
            steps=state.step,
            resumed_from_step=state.resumed_from_step,
            train_s=self.watch.total_s,
            wall_s=self.wall_s,
            images=self.course.images_at(state.step),
            validated=validated,
            test=test,
        )
        self.tell(self.finished(done, validated))
        state.result = done
        self.write_checkpoint()
        return done

    def finished(self, done: dict[str, Any], validated: Validated | None) -> Finished:
        """The last event."""
        same = (
            "epochs",
            "validation_accuracy",
            "test_loss",
            "test_accuracy",
            "train_s",
            "wall_s",
            "images_per_s",
        )
        return Finished(
            step=done["steps"],
            reason="early stopping" if self.state.stopped else "steps",
            validation_loss=validated.loss if validated else None,
            **{name: done[name] for name in same},
        )

    def test(self, validated: Validated | None) -> Validated | None:
        """Loss and accuracy of the module as it stands on the test split; already known where validation used it."""
        if self.material.validation_split == "test":
            return validated
        if self.material.data.test is None:
            return None
        images, labels = resident(self.material.data.test, self.plan)
        scoring = measure(self.fast, images, labels, self.preprocessing, self.plan)
        return Validated.of(self.state.step, scoring)

    @property
    def wall_s(self) -> float:
        """Seconds since `train` was called, earlier sittings included."""
        return self.wall_before_s + time.perf_counter() - self.began_at
