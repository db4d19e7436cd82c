"""Rules for the learning rate of a `pipeline.config`: it fits the steps, whatever the file says."""

import re

from helpers.models.pipeline.draft import (
    BUILT_IN,
    TAKEN,
    Draft,
    approximate,
    below,
    get,
    mistaken,
    no_counterpart,
    now,
    pair,
    put,
    take,
)
from helpers.models.presets import PRESETS

_RATE = "trainer.optimizer_config.learning_rate"
_WARMUP = "trainer.optimizer_config.warmup"


def schedule(draft: Draft, path: str) -> None:
    """The learning rate: one that fits the number of steps, whatever the file says."""
    steps = now(draft, "trainer.train_steps")
    schedules = {
        "constant_learning_rate": _constant,
        "exponential_decay_learning_rate": _exponential,
        "manual_step_learning_rate": _manual,
        "cosine_decay_learning_rate": _cosine,
    }
    for name, schedule in schedules.items():
        if below(f"{path}.{name}", draft.leaves):
            schedule(draft, f"{path}.{name}", steps)
            return
    rate = PRESETS[draft.preset].learning_rate
    mistaken(draft, path, f"missing; a cosine from the preset's rate {rate:g} is taken")
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
    draft.changes[key] = get(draft, rate, 0.002)
    take(draft, rate, key, remark="a rate that falls to 0 learns more: config.with_budget sets it")
    put(draft, path, TAKEN, pair([key], 0.002), "")
    _warm(draft, 0, 0)


def _exponential(draft: Draft, path: str, steps: int) -> None:
    initial, decay = f"{path}.initial_learning_rate", f"{path}.decay_steps"
    rate, after = get(draft, initial, 0.002), get(draft, decay, 4_000_000)
    stairs = f"{path}.staircase"
    factor = f"{path}.decay_factor"
    fits = 0 < after < steps
    if fits:
        key = f"{_RATE}.exponential"
        draft.changes[f"{_RATE}.type"] = "exponential"
        values = {
            initial: ("initial_learning_rate", rate),
            decay: ("decay_steps", after),
            factor: ("decay_rate", get(draft, factor, 0.95)),
            stairs: ("staircase", get(draft, stairs, True)),
        }
        for name, (end, value) in values.items():
            draft.changes[f"{key}.{end}"] = value
            take(draft, name, f"{key}.{end}")
    else:
        said = f"the rate first falls after {after} steps, but training ends after {steps}"
        said = f"{said}: it never falls" if after > 0 else f"{after}: no step to fall in"
        where = decay if decay in draft.leaves else path
        mistaken(draft, where, f"{said}; it gets a cosine from {rate:g} to 0 over {steps} steps")
        _fall(draft, rate, steps)
        cosine = f"{_RATE}.cosine"
        take(draft, initial, f"{cosine}.initial_learning_rate")
        remark = f"{after} -> {steps}: a cosine that ends with training"
        approximate(draft, decay, f"{cosine}.decay_steps", value=steps, remark=remark)
        for name in (factor, stairs):
            no_counterpart(draft, name, "the cosine needs none")
    burn, burning = f"{path}.burnin_learning_rate", f"{path}.burnin_steps"
    warm = min(get(draft, burning, 0), steps // 2)
    start = min(get(draft, burn, 0.0), rate)
    _warm(draft, start, warm)
    if warm:
        linear, remark = f"{_WARMUP}.linear", "the rate rises from it in a line; it does not jump"
        approximate(draft, burn, f"{linear}.warmup_learning_rate", value=start, remark=remark)
        approximate(draft, burning, f"{linear}.warmup_steps", value=warm, remark=remark)
    for name in (burn, burning):
        put(draft, name, TAKEN, BUILT_IN, "no warm-up")
    no_counterpart(draft, f"{path}.min_learning_rate", "no floor here; a cosine ends at 0")


def _rates_by_step(draft: Draft, path: str, first: float, steps: int):
    """The first rate and the changes that come, as (step, rate, place); the others are mistakes."""
    places = sorted(
        {
            re.match(rf"{re.escape(path)}\.schedule(\[\d+\])?", leaf.path)[0]
            for leaf in below(f"{path}.schedule", draft.leaves)
        },
        key=lambda place: int("0" + re.sub(r"\D", "", place.rpartition("schedule")[2])),
    )
    schedule = []
    for place in places:
        step, rate = get(draft, f"{place}.step", 0), get(draft, f"{place}.learning_rate", 0.002)
        name = f"{place}.step" if f"{place}.step" in draft.leaves else place
        if step < 1:
            mistaken(
                draft,
                name,
                f"a first step of {step} is refused by the old API since 2018; the schedule starts "
                f"with {rate:g} instead",
            )
            first = rate
        elif step >= steps:
            mistaken(
                draft, name, f"training ends after {steps} steps: this rate, {rate:g}, never comes"
            )
        elif schedule and step <= schedule[-1][0]:
            mistaken(
                draft, name, f"step {step} does not follow {schedule[-1][0]}; this rate is left out"
            )
        else:
            schedule.append((step, rate, place))
    return first, schedule


def _manual(draft: Draft, path: str, steps: int) -> None:
    initial, warmup = f"{path}.initial_learning_rate", f"{path}.warmup"
    first, schedule = _rates_by_step(draft, path, get(draft, initial, 0.002), steps)
    if get(draft, warmup) and schedule:
        step, rate, place = schedule.pop(0)
        linear = f"{_WARMUP}.linear"
        if first > rate:
            said = f"a warm-up that falls, from {first:g} to {rate:g}; it starts at {rate / 10:g}"
            mistaken(draft, initial if initial in draft.leaves else path, said)
            first = rate / 10
            remark = "a tenth of the rate after it"
            key = f"{linear}.warmup_learning_rate"
            approximate(draft, initial, key, value=first, remark=remark)
        _warm(draft, first, step)
        take(draft, initial, f"{linear}.warmup_learning_rate", value=float(first))
        take(draft, f"{place}.step", f"{linear}.warmup_steps")
        put(draft, warmup, TAKEN, f"{_WARMUP}.type: linear", "")
        first, initial = rate, f"{place}.learning_rate"
    else:
        _warm(draft, 0, 0)
        put(draft, warmup, TAKEN, BUILT_IN, "no warm-up")
    if schedule:
        key, rates = f"{_RATE}.stepwise", [first, *(rate for _, rate, _ in schedule)]
        draft.changes[f"{_RATE}.type"] = "stepwise"
        draft.changes[f"{key}.boundaries"] = [step for step, _, _ in schedule]
        draft.changes[f"{key}.values"] = [float(rate) for rate in rates]
        boundaries, values = (now(draft, f"{key}.{end}") for end in ("boundaries", "values"))
        for _, _, place in schedule:
            put(draft, f"{place}.step", TAKEN, pair([f"{key}.boundaries"], boundaries), "")
            put(draft, f"{place}.learning_rate", TAKEN, pair([f"{key}.values"], values), "")
        put(draft, initial, TAKEN, pair([f"{key}.values"], values), "")
    else:
        _fall(draft, first, steps)
        if not get(draft, warmup):
            remark = f"no other rate comes before the end: a cosine to 0 over {steps} steps"
        else:
            remark = f"after the warm-up a cosine to 0 over {steps} steps"
        key = f"{_RATE}.cosine.initial_learning_rate"
        approximate(draft, initial, key, value=float(first), remark=remark)
    for leaf in below(f"{path}.schedule", draft.leaves):
        no_counterpart(draft, leaf.path, "see the mistakes")
    no_counterpart(draft, initial, "see the mistakes")


def _cosine(draft: Draft, path: str, steps: int) -> None:
    base, total = f"{path}.learning_rate_base", f"{path}.total_steps"
    low, warm = f"{path}.warmup_learning_rate", f"{path}.warmup_steps"
    rate, end = get(draft, base, 0.002), get(draft, total, 4_000_000)
    start, rising = get(draft, low, 0.0002), get(draft, warm, 10_000)
    _fall(draft, rate, steps)
    key, linear = f"{_RATE}.cosine", f"{_WARMUP}.linear"
    take(draft, base, f"{key}.initial_learning_rate", value=float(rate))
    if end == steps:
        take(draft, total, f"{key}.decay_steps")
    else:
        why = (
            "training stops before it has fallen" if end > steps else "the last steps learn nothing"
        )
        said = f"the rate reaches 0 at step {end}, training ends at {steps}: {why}"
        where = total if total in draft.leaves else path
        mistaken(draft, where, f"{said}; decay_steps is set to {steps}")
        remark = f"{end} -> {steps}: ends with training"
        approximate(draft, total, f"{key}.decay_steps", value=steps, remark=remark)
    if rising >= min(end, steps):
        where, fits = warm if warm in draft.leaves else path, max(1, steps // 10)
        said = f"a warm-up of {rising} steps leaves none of {min(end, steps)} to learn"
        mistaken(draft, where, f"{said}; it is set to {fits}")
        remark = f"{rising} -> {fits}: a tenth of training"
        approximate(draft, warm, f"{linear}.warmup_steps", value=fits, remark=remark)
        rising = fits
    if rising and start > rate:
        where = low if low in draft.leaves else path
        mistaken(
            draft,
            where,
            f"a warm-up that starts at {start:g}, above the base rate {rate:g}: the old API "
            f"refuses it; it is set to {rate / 10:g}",
        )
        start = rate / 10
        remark = "a tenth of the base rate"
        approximate(draft, low, f"{linear}.warmup_learning_rate", value=start, remark=remark)
    _warm(draft, start, rising)
    if rising:
        take(draft, low, f"{linear}.warmup_learning_rate", value=float(start))
        take(draft, warm, f"{linear}.warmup_steps")
    for name in (low, warm):
        put(draft, name, TAKEN, f"{_WARMUP}.type: none", "no warm-up")
    hold = f"{path}.hold_base_rate_steps"
    if not get(draft, hold):
        put(draft, hold, TAKEN, BUILT_IN, "")
    no_counterpart(draft, hold, "the rate falls straight after the warm-up")
