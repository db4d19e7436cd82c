"""Rules for the learning rate of a `pipeline.config`: it fits the steps, whatever the file says."""

import re
from typing import NamedTuple

from helpers.models.pipeline.draft import TAKEN, Draft, assignment
from helpers.models.presets import PRESETS

_RATE = "trainer.optimizer_config.learning_rate"
_WARMUP = "trainer.optimizer_config.warmup"


def schedule(draft: Draft, path: str) -> None:
    """The learning rate: one that fits the number of steps, whatever the file says."""
    steps = draft.setting("trainer.train_steps")
    schedules = {
        "constant_learning_rate": _constant,
        "exponential_decay_learning_rate": _exponential,
        "manual_step_learning_rate": _manual,
        "cosine_decay_learning_rate": _cosine,
    }
    for name, schedule in schedules.items():
        if draft.below(f"{path}.{name}"):
            schedule(draft, f"{path}.{name}", steps)
            return
    rate = PRESETS[draft.preset].learning_rate
    draft.note_mistake(path, f"missing; a cosine from the preset's rate {rate:g} is taken")
    _fall(draft, rate, steps)
    _warm(draft, rate / 10, max(1, steps // 10))


def _fall(draft: Draft, rate: float, steps: int) -> None:
    """A cosine from `rate` to 0 over all steps, the schedule that always fits."""
    draft.changes[f"{_RATE}.type"] = "cosine"
    draft.changes[f"{_RATE}.cosine.initial_learning_rate"] = float(rate)
    draft.changes[f"{_RATE}.cosine.decay_steps"] = steps


def _warm(draft: Draft, rate: float, steps: int) -> None:
    """A warm-up from `rate` over `steps`; none for 0 steps."""
    draft.changes[f"{_WARMUP}.type"] = "linear" if steps else None
    if steps:
        draft.changes[f"{_WARMUP}.linear.warmup_learning_rate"] = float(rate)
        draft.changes[f"{_WARMUP}.linear.warmup_steps"] = steps


def _constant(draft: Draft, path: str, steps: int) -> None:
    rate, key = f"{path}.learning_rate", f"{_RATE}.constant.learning_rate"
    draft.changes[f"{_RATE}.type"] = "constant"
    draft.changes[key] = draft.get(rate, 0.002)
    draft.take(rate, key, remark="a rate that falls to 0 learns more: models.with_budget sets it")
    draft.record(path, TAKEN, assignment([key], 0.002))
    _warm(draft, 0, 0)


def _exponential(draft: Draft, path: str, steps: int) -> None:
    initial, decay = f"{path}.initial_learning_rate", f"{path}.decay_steps"
    stairs, factor = f"{path}.staircase", f"{path}.decay_factor"
    rate, after = draft.get(initial, 0.002), draft.get(decay, 4_000_000)
    if 0 < after < steps:
        draft.changes[f"{_RATE}.type"] = "exponential"
        for field, name, value in (
            (initial, "initial_learning_rate", rate),
            (decay, "decay_steps", after),
            (factor, "decay_rate", draft.get(factor, 0.95)),
            (stairs, "staircase", draft.get(stairs, True)),
        ):
            draft.changes[f"{_RATE}.exponential.{name}"] = value
            draft.take(field, f"{_RATE}.exponential.{name}")
    else:
        said = f"the rate first falls after {after} steps, but training ends after {steps}"
        said = f"{said}: it never falls" if after > 0 else f"{after}: no step to fall in"
        said += f"; it gets a cosine from {rate:g} to 0 over {steps} steps"
        draft.note_mistake(decay, said, group=path)
        _fall(draft, rate, steps)
        draft.take(initial, f"{_RATE}.cosine.initial_learning_rate")
        remark = f"{after} -> {steps}: a cosine that ends with training"
        draft.approximate(decay, f"{_RATE}.cosine.decay_steps", value=steps, remark=remark)
        for field in (factor, stairs):
            draft.no_counterpart(field, "the cosine needs none")
    _burn_in(draft, path, rate, steps)
    draft.no_counterpart(f"{path}.min_learning_rate", "no floor here; a cosine ends at 0")


def _burn_in(draft: Draft, path: str, rate: float, steps: int) -> None:
    """A warm-up, where the old API keeps the rate low for the first steps and then jumps."""
    low, burning = f"{path}.burnin_learning_rate", f"{path}.burnin_steps"
    warm = min(draft.get(burning, 0), steps // 2)
    start = min(draft.get(low, 0.0), rate)
    _warm(draft, start, warm)
    if warm:
        linear, remark = f"{_WARMUP}.linear", "the rate rises from it in a line; it does not jump"
        draft.approximate(low, f"{linear}.warmup_learning_rate", value=start, remark=remark)
        draft.approximate(burning, f"{linear}.warmup_steps", value=warm, remark=remark)
    for field in (low, burning):
        draft.built_in(field, "no warm-up")


class Change(NamedTuple):
    """From `step` on the rate is `rate`; `place` is where the file says so."""

    step: int
    rate: float
    place: str


def _rates_by_step(draft: Draft, path: str, first: float, steps: int) -> tuple[float, list[Change]]:
    """The first rate and the changes that come; the others are mistakes."""
    places = sorted(
        {
            found[0]
            for leaf in draft.below(f"{path}.schedule")
            if (found := re.match(rf"{re.escape(path)}\.schedule(\[\d+\])?", leaf.path))
        },
        key=lambda place: int("0" + re.sub(r"\D", "", place.rpartition("schedule")[2])),
    )
    schedule: list[Change] = []
    for place in places:
        step, rate = draft.get(f"{place}.step", 0), draft.get(f"{place}.learning_rate", 0.002)
        if step < 1:
            said = f"a first step of {step} is refused by the old API since 2018; the schedule "
            said += f"starts with {rate:g} instead"
            first = rate
        elif step >= steps:
            said = f"training ends after {steps} steps: this rate, {rate:g}, never comes"
        elif schedule and step <= schedule[-1].step:
            said = f"step {step} does not follow {schedule[-1].step}; this rate is left out"
        else:
            schedule.append(Change(step, rate, place))
            continue
        draft.note_mistake(f"{place}.step", said, group=place)
    return first, schedule


def _manual(draft: Draft, path: str, steps: int) -> None:
    initial, warmup = f"{path}.initial_learning_rate", f"{path}.warmup"
    first, schedule = _rates_by_step(draft, path, draft.get(initial, 0.002), steps)
    if draft.get(warmup) and schedule:
        step, rate, place = schedule.pop(0)
        linear = f"{_WARMUP}.linear"
        if first > rate:
            said = f"a warm-up that falls, from {first:g} to {rate:g}; it starts at {rate / 10:g}"
            draft.note_mistake(initial, said, group=path)
            first = rate / 10
            remark = "a tenth of the rate after it"
            key = f"{linear}.warmup_learning_rate"
            draft.approximate(initial, key, value=first, remark=remark)
        _warm(draft, first, step)
        draft.take(initial, f"{linear}.warmup_learning_rate", value=float(first))
        draft.take(f"{place}.step", f"{linear}.warmup_steps")
        draft.record(warmup, TAKEN, f"{_WARMUP}.type: linear")
        first, initial = rate, f"{place}.learning_rate"
    else:
        _warm(draft, 0, 0)
        draft.built_in(warmup, "no warm-up")
    if schedule:
        boundaries = [change.step for change in schedule]
        rates = [float(rate) for rate in (first, *(change.rate for change in schedule))]
        key = f"{_RATE}.stepwise"
        draft.changes |= {
            f"{_RATE}.type": "stepwise",
            f"{key}.boundaries": boundaries,
            f"{key}.values": rates,
        }
        values = assignment([f"{key}.values"], rates)
        for change in schedule:
            at = assignment([f"{key}.boundaries"], boundaries)
            draft.record(f"{change.place}.step", TAKEN, at)
            draft.record(f"{change.place}.learning_rate", TAKEN, values)
        draft.record(initial, TAKEN, values)
    else:
        _fall(draft, first, steps)
        if not draft.get(warmup):
            remark = f"no other rate comes before the end: a cosine to 0 over {steps} steps"
        else:
            remark = f"after the warm-up a cosine to 0 over {steps} steps"
        key = f"{_RATE}.cosine.initial_learning_rate"
        draft.approximate(initial, key, value=float(first), remark=remark)
    for leaf in draft.below(f"{path}.schedule"):
        draft.no_counterpart(leaf.path, "see the mistakes")
    draft.no_counterpart(initial, "see the mistakes")


def _cosine(draft: Draft, path: str, steps: int) -> None:
    base, total = f"{path}.learning_rate_base", f"{path}.total_steps"
    low, warm = f"{path}.warmup_learning_rate", f"{path}.warmup_steps"
    rate, end = draft.get(base, 0.002), draft.get(total, 4_000_000)
    start, rising = draft.get(low, 0.0002), draft.get(warm, 10_000)
    _fall(draft, rate, steps)
    key, linear = f"{_RATE}.cosine", f"{_WARMUP}.linear"
    draft.take(base, f"{key}.initial_learning_rate", value=float(rate))
    if end == steps:
        draft.take(total, f"{key}.decay_steps")
    else:
        why = (
            "training stops before it has fallen" if end > steps else "the last steps learn nothing"
        )
        said = f"the rate reaches 0 at step {end}, training ends at {steps}: {why}"
        draft.note_mistake(total, f"{said}; decay_steps is set to {steps}", group=path)
        remark = f"{end} -> {steps}: ends with training"
        draft.approximate(total, f"{key}.decay_steps", value=steps, remark=remark)
    if rising >= min(end, steps):
        fits = max(1, steps // 10)
        said = f"a warm-up of {rising} steps leaves none of {min(end, steps)} to learn"
        draft.note_mistake(warm, f"{said}; it is set to {fits}", group=path)
        remark = f"{rising} -> {fits}: a tenth of training"
        draft.approximate(warm, f"{linear}.warmup_steps", value=fits, remark=remark)
        rising = fits
    if rising and start > rate:
        said = f"a warm-up that starts at {start:g}, above the base rate {rate:g}: the old API "
        said += f"refuses it; it is set to {rate / 10:g}"
        draft.note_mistake(low, said, group=path)
        start = rate / 10
        remark = "a tenth of the base rate"
        draft.approximate(low, f"{linear}.warmup_learning_rate", value=start, remark=remark)
    _warm(draft, start, rising)
    if rising:
        draft.take(low, f"{linear}.warmup_learning_rate", value=float(start))
        draft.take(warm, f"{linear}.warmup_steps")
    for name in (low, warm):
        draft.record(name, TAKEN, f"{_WARMUP}.type: none", "no warm-up")
    hold = f"{path}.hold_base_rate_steps"
    if not draft.get(hold):
        draft.built_in(hold)
    draft.no_counterpart(hold, "the rate falls straight after the warm-up")
