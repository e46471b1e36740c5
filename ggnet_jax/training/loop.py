"""The training loop: data in, checkpoints and logs out."""

import dataclasses
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ggnet_jax.config import check_config, frozen_modules, resolve_config
from ggnet_jax.dataset import Batch, DataPipelines, Dataset
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.run_dir import best as best_checkpoint
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.run_dir.checkpoints import Checkpoints
from ggnet_jax.run_dir.checkpoints import about as checkpoint_record
from ggnet_jax.run_dir.checkpoints import steps as saved_steps
from ggnet_jax.run_dir.lock import RunLock
from ggnet_jax.training import selection as selections
from ggnet_jax.training import state as train_state
from ggnet_jax.training import wandb_log
from ggnet_jax.training.agreement import compare, of_first, together
from ggnet_jax.training.estimate import check_memory, compile_step
from ggnet_jax.training.initial import initial_weights, note_on_validation, put_initial_weights
from ggnet_jax.training.least_memory import check_least
from ggnet_jax.training.log import RunLog, Stopwatch
from ggnet_jax.training.memory import memory_in_one_line
from ggnet_jax.training.optimizer import create_optimizer, learning_rate_schedule
from ggnet_jax.training.parallel import Parallel, create_parallel
from ggnet_jax.training.plan import Plan
from ggnet_jax.training.selection import Schedule, Selection
from ggnet_jax.training.state import TrainState, create_state
from ggnet_jax.training.step import Metrics, TrainStep, make_train_step
from ggnet_jax.training.stop import StopNow, StopRequest
from ggnet_jax.training.tracking import Evaluated

# Steps that the devices may be behind the host. The host looks at a step's metrics this many
# steps later, so it never waits for a device that has nothing else to do. The number is fixed and
# not "whatever is ready": all processes have to notice a bad loss after the same step.
_STEPS_AHEAD = 2

Check = Callable[[Any, Dataset], str | None]
Evaluate = Callable[[Any, Path, int], Evaluated | Mapping[str, float]]


class TrainResult(NamedTuple):
    """How training ended.

    Attributes:
        step: number of updates behind the newest checkpoint.
        finished: False if it was asked to stop, be it during the last step. True also where it
            stopped early because nothing better came.
    """

    step: int
    finished: bool


def train(
    config: Any,
    workdir: str | Path,
    data: DataPipelines,
    *,
    check: Check | None = None,
    evaluate: Evaluate | None = None,
) -> TrainResult:
    """Train, or go on training, in a workdir.

    A run that was stopped anywhere and started again ends in the same state as one that was not.

    Args:
        config: a ConfigDict with the fields of `configs/base.py`.
        workdir: a new or empty folder, or that of the run to go on with.
        data: where the batches come from.
        check: called with the configuration and the data set before anything is written; raises a
            UserError for what could not be evaluated later, and returns the metric that
            `config.eval.best` stands for.
        evaluate: called as `evaluate(config, workdir, step)` every `eval_every_epochs`, and at the
            end if there is a validation split; its metrics are logged. One that was interrupted is
            called again.

    Raises:
        UserError: the configuration, the data or the folder can't be used, or another training
            uses it; the processes of the run differ; the disk or a memory is full; the loss is not
            finite.
    """
    workdir = Path(workdir)
    first = jax.process_index() == 0
    with RunLock(workdir) as lock, memory_in_one_line(config):
        plan = together(lambda: _plan(config, workdir, data, lock, check))
        config, total = plan.config, plan.total
        compare(plan.facts(workdir))
        if plan.start is None or plan.start < total:
            together(lambda: check_least(plan.make_state, config))
            if first:
                print("compiling the training step", file=sys.stderr, flush=True)
            together(lambda: _compile(plan))
        changes = together(lambda: _prepare(plan, workdir, lock))
        with Checkpoints(workdir, keep=config.keep_checkpoints, about=plan.about) as checkpoints:
            state, start = _first_state(plan, checkpoints)
            selection, lost = selections.begin(config, plan.metric, plan.dataset, workdir, start)
            checkpoints.best = of_first(
                best_checkpoint.step_of(workdir) if selection is None else selection.best
            )
            evaluated = selections.is_evaluated(workdir, start, selection)
            evaluation = Schedule(config, plan.dataset, plan.steps_per_epoch, total)
            due = evaluate is not None and start and not evaluated and evaluation.at(start)
            if not due and selection is not None and selection.stops and start < total:
                if first:
                    print(selection.describe_end(start, total))
                return TrainResult(start, True)
            if not due and start >= total:
                return TrainResult(start, True)
            if first and start:
                for line in [*changes, *plan.differences(checkpoint_record(workdir, start))]:
                    print(f"differs from the run so far: {line}")
                for line in lost:
                    print(line)
                print(f"resuming {workdir} at step {start} of {total}")
            if first:
                for line in plan.notes:
                    print(line)
                print(plan.summary(state))
            batches = data.train_batches(
                plan.dataset,
                config,
                start_step=start,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
            with (
                RunLog(
                    workdir,
                    start_step=start,
                    total_steps=total,
                    write=first,
                    wandb=plan.config if plan.config.wandb else None,
                ) as log,  # fmt: skip
                StopRequest() as stop,
            ):
                run = _Run(
                    config, workdir, checkpoints, log, stop, plan.parallel, evaluate, evaluation,
                    selection,
                )  # fmt: skip
                return run.go(plan.step_function, state, batches, start, total, evaluated)


def _plan(
    config: Any, workdir: Path, data: DataPipelines, lock: RunLock, check: Check | None
) -> Plan:
    """Settle everything that can be refused; nothing is written but a data set that was missing."""
    first = jax.process_index() == 0
    run_folder.check_folder(workdir)
    if first and run_folder.is_run(workdir):
        lock.take()
    parallel = create_parallel(config.parallel)
    check_config(config, num_devices=jax.device_count())
    if config.wandb and first:
        wandb_log.require()
    dataset = data.load_dataset(config.data)
    notes = selections.check(config, dataset)
    metric = (check(config, dataset) if check is not None else None) or config.eval.best
    asked = config.batch_size
    config = resolve_config(config, dataset.vocabulary, num_devices=jax.device_count())
    if first and config.batch_size != asked:
        print(f"batch size {asked} rounded to {config.batch_size}: {jax.device_count()} devices")
    steps_per_epoch = data.steps_per_epoch(dataset, config)
    # Before anything is written: a folder must not remember a network that can't be built.
    step_function, make_state = build(config, dataset.verbs_of_object, steps_per_epoch, parallel)
    vocabulary = dataset.vocabulary.to_dict()
    vocabulary["verbs_of_object"] = np.asarray(dataset.verbs_of_object, bool).tolist()
    saved = saved_steps(workdir)
    start = saved[-1] if saved else None
    if saved:
        selections.check_same_split(workdir, config, dataset)
    weights = initial_weights(config, dataset.vocabulary, workdir, start, say=first)
    if start is None:
        notes += note_on_validation(config, dataset)
    return Plan(
        config, dataset, vocabulary, steps_per_epoch, parallel, step_function, make_state, weights,
        start, metric, notes,
    )  # fmt: skip


def _compile(plan: Plan) -> None:
    """Compile the step ahead of time, and refuse it if the memory does not suffice."""
    compiled = compile_step(plan.step_function, plan.make_state, plan.parallel, plan.config)
    otherwise = plan.step_function

    def step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
        # A data package may send bytes, say; the next compilation is for what it sends.
        function = compiled if batch["image"].dtype == np.float32 else otherwise
        return function(state, batch)

    plan.step_function = step
    if (line := check_memory(compiled, plan.config)) and jax.process_index() == 0:
        print(line)


def _prepare(plan: Plan, workdir: Path, lock: RunLock) -> list[str]:
    """Take the workdir and write what it starts with; what differs from the run so far."""
    first = jax.process_index() == 0
    run_folder.check_folder(workdir)
    if first:
        lock.take()
        if (saved_steps(workdir) or [None])[-1] != plan.start:
            raise UserError(f"another training has been in {workdir} meanwhile; start again")
    return run_folder.prepare(workdir, plan.config.to_dict(), plan.vocabulary, write=first)


def _first_state(plan: Plan, checkpoints: Checkpoints) -> tuple[TrainState, int]:
    """The state to go on from, on the devices, and its step."""
    if checkpoints.latest() is not None:
        return restore(checkpoints, plan.parallel, plan.make_state)
    state = plan.parallel.create(plan.make_state)
    if plan.weights is not None:
        single = plan.parallel.single(state)
        state = plan.parallel.put_state(put_initial_weights(single, plan.weights))
    return state, 0


def build(
    config: Any, verbs_of_object: np.ndarray, steps_per_epoch: int, parallel: Parallel
) -> tuple[TrainStep, Callable[[], TrainState]]:
    """The step, ready to be called, and the function that makes a fresh state.

    Args:
        config: resolved.
        verbs_of_object: [O, V] bool, the pairs seen in training.
        steps_per_epoch: for the learning rate.
        parallel: how the step is spread.

    Raises:
        UserError: no network can be built from `config.model`, or not for this input size.
    """
    size = tuple(config.data.image_size)
    schedule = learning_rate_schedule(config, steps_per_epoch)
    optimizer = create_optimizer(config, schedule)
    model = create_model(config.model, axis_name=parallel.axis_name)
    # Parameters do not depend on the axis, and outside of pmap's step it does not exist.
    unmapped = create_model(config.model)
    make_state = partial(
        create_state, unmapped, optimizer, size, config.seed, average=bool(config.ema_decay)
    )
    try:
        jax.eval_shape(make_state)
    except ValueError as error:
        raise UserError(f"config.data.image_size={size}: {error}") from error
    step_function = make_train_step(
        model,
        optimizer,
        schedule,
        config.loss,
        np.asarray(verbs_of_object, bool),
        axis_name=parallel.axis_name,
        accumulate_steps=config.accumulate_steps,
        ema_decay=config.ema_decay,
        frozen=frozen_modules(config.freeze),
    )
    return parallel.compile(step_function, config.model.dtype), make_state


def restore(
    checkpoints: Checkpoints, parallel: Parallel, make_state: Callable[[], TrainState]
) -> tuple[TrainState, int]:
    """The newest checkpoint on the devices, in the structure of `make_state`, and its step."""
    variables, training, step = checkpoints.restore()
    try:
        state = train_state.from_checkpoint(jax.eval_shape(make_state), variables, training)
    except ValueError as error:
        raise UserError(f"checkpoint {step} is not of this network: {error}") from error
    return parallel.put_state(state), step


class _Pending(NamedTuple):
    """A step that was sent to the devices and not looked at yet."""

    step: int
    image_ids: np.ndarray
    metrics: Metrics


@dataclasses.dataclass
class _Run:
    """One process's way through the steps."""

    config: Any
    workdir: Path
    checkpoints: Checkpoints
    log: RunLog
    stop: StopRequest
    parallel: Parallel
    evaluate: Evaluate | None
    evaluation: Schedule
    selection: Selection | None  # of the best checkpoint
    pending: deque[_Pending] = dataclasses.field(default_factory=deque)
    watch: Stopwatch | None = None  # None until a step has ended that was not compiled

    def go(
        self,
        step_function: TrainStep,
        state: TrainState,
        batches: Iterator[Batch],
        start: int,
        total: int,
        evaluated: bool,
    ) -> TrainResult:
        """Take the steps `start` to `total`, see `train`.

        Args:
            step_function: from `build`.
            state: after `start` steps.
            batches: from step `start` on.
            start: steps done.
            total: steps of the run.
            evaluated: whether the state was evaluated, if that was due.
        """
        if start and self._evaluates_at(start) and not evaluated:
            ended = self._evaluated(start, total)
            if ended is not None:
                return ended
        for step in range(start + 1, total + 1):
            batch = next(batches)
            # What moves between host and device does so where the code says it. Anything else
            # would make every step wait, and nobody would see why.
            with jax.transfer_guard("disallow"):
                on_device = self.parallel.put_batch(batch)
                state, metrics = step_function(state, on_device)
                self.pending.append(_Pending(step, np.asarray(batch["image_id"]), metrics))
                self._look_at_all_but(_STEPS_AHEAD)

            stopping = self.stop.at(step)
            evaluating = self._evaluates_at(step)
            due = step % self.config.checkpoint_every_steps == 0
            if due or stopping or evaluating or step == total:
                self._save(step, state)
            if stopping:
                return self._stopped(step, total)
            if evaluating:
                ended = self._evaluated(step, total)
                if ended is not None:
                    return ended
        self.checkpoints.wait()
        if self.stop.requested:  # meanwhile
            return self._stopped(total, total)
        return TrainResult(total, True)

    def _evaluates_at(self, step: int) -> bool:
        return self.evaluate is not None and self.evaluation.at(step)

    def _evaluated(self, step: int, total: int) -> TrainResult | None:
        """Evaluate a checkpoint; how training ends with that, None if it goes on."""
        if not self._evaluate(step):
            return self._stopped(step, total)
        if self.selection is not None and self.selection.stops and step < total:
            self.log.say(self.selection.describe_end(step, total))
            return TrainResult(step, True)
        return None

    def _evaluate(self, step: int) -> bool:
        """Evaluate a checkpoint, log it and keep the best; False if a signal put an end to that."""
        assert self.evaluate is not None
        self.checkpoints.wait()
        try:
            with self.stop.at_once():
                found = self.evaluate(self.config, self.workdir, step)
        except StopNow:
            return False
        if not isinstance(found, Evaluated):
            found = Evaluated(found)
        self.log.show(step, found.images, found.curves, prefix="eval/")
        if self.selection is not None:
            # Before the log, which tells a run that goes on that the evaluation is done.
            value = found.metrics.get(self.selection.metric)
            self.selection.add(step, of_first(None if value is None else float(value)))
            self.checkpoints.best = self.selection.best
            if jax.process_index() == 0:
                best_checkpoint.write(self.workdir, self.selection.to_record())
        self.log.write(step, found.metrics, prefix="eval/")
        if self.selection is not None:
            self.log.say(self.selection.describe(step))
        self.watch = None
        return True

    def _stopped(self, step: int, total: int) -> TrainResult:
        self.checkpoints.wait()
        self.log.say(
            f"stopped by {self.stop.name} after step {step} of {total}; saved in "
            f"{self.workdir}, the same command goes on from there"
        )
        return TrainResult(step, False)

    def _save(self, step: int, state: TrainState) -> None:
        """Save a state whose every step has been seen to be finite."""
        self._look_at_all_but(0)
        self.log.flush()
        self.checkpoints.save(step, *train_state.to_checkpoint(self.parallel.single(state)))

    def _look_at_all_but(self, count: int) -> None:
        """Wait for the steps sent before the last `count`."""
        while len(self.pending) > count:
            self._look_at(self.pending.popleft())

    def _look_at(self, pending: _Pending) -> None:
        """Wait for a step, stop if it went wrong, log it if it is due."""
        metrics = self.parallel.single(pending.metrics)
        if not bool(jax.device_get(metrics["finite"])):
            self.checkpoints.wait()
            raise UserError(self._not_finite(pending, jax.device_get(metrics)))
        self.log.advance()
        if self.watch is None:  # the first step was compiled, which says nothing of the speed
            self.watch = Stopwatch()
        else:
            self.watch.add(self.config.batch_size)
        if pending.step % self.config.log_every_steps == 0:
            values = {k: float(v) for k, v in jax.device_get(metrics).items() if k != "finite"}
            values["images_per_second"] = round(self.watch.read(), 2)
            self.log.write(pending.step, values)

    def _not_finite(self, pending: _Pending, metrics: Mapping[str, np.ndarray]) -> str:
        what = "loss" if not math.isfinite(metrics["loss"]) else "gradient"
        last = self.checkpoints.latest()
        good = "no checkpoint was saved yet" if last is None else f"last good checkpoint: {last}"
        ids = ", ".join(map(str, pending.image_ids.tolist()))
        return (
            f"the {what} is not finite at step {pending.step} "
            f"(loss {float(metrics['loss']):g}); image ids of its batch: {ids}; {good}. "
            "Try a lower --config.learning_rate or --config.grad_clip=1"
        )
