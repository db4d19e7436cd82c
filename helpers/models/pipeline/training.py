"""Rules for the training and the evaluation that a `pipeline.config` describes."""

import re

from helpers.models.pipeline.draft import APPROXIMATED, PARSER, TAKEN, Draft, assignment
from helpers.models.pipeline.rate import schedule

_OPTIMIZER = "trainer.optimizer_config.optimizer"
_CROPS = "ssd_random_crop|ssd_random_crop_pad|ssd_random_crop(_pad)?_fixed_aspect_ratio"


def training(draft: Draft) -> None:
    """Batch, length, and how the devices share them."""
    if not draft.below("train_config"):
        draft.note_mistake("train_config", "missing: how to train; the preset's settings are taken")
    _batch(draft)
    _steps(draft)
    path, key = "train_config.max_number_of_boxes", f"{PARSER}.max_num_instances"
    draft.take(path, key, "task.validation_data.parser.max_num_instances")
    path = "train_config.add_regularization_loss"
    if draft.get(path) is False:
        draft.changes["task.losses.l2_weight_decay"] = 0.0
        draft.record(path, TAKEN, "task.losses.l2_weight_decay: 0")
    draft.built_in(path)
    path = "train_config.use_bfloat16"
    if draft.get(path):
        keys = ("task.train_data.dtype", "task.validation_data.dtype")
        draft.take(path, "runtime.mixed_precision_dtype", *keys, value="bfloat16")
    draft.built_in(path)


def _batch(draft: Draft) -> None:
    path, key = "train_config.batch_size", "task.train_data.global_batch_size"
    batch = draft.get(path)
    if not batch or batch < 1:
        said = "missing (the old API took 32)" if batch is None else "no images in a step"
        draft.note_mistake(path, f"{said}; global_batch_size is set to 8")
        batch = 8
        draft.approximate(path, key, value=8, remark="see the mistakes")
    else:
        draft.take(path, key, remark="over all devices together")
    draft.changes[key] = batch
    replicas = draft.get("train_config.replicas_to_aggregate", 1)
    if replicas > 1 and batch % replicas:
        draft.note_mistake(
            "train_config.replicas_to_aggregate",
            f"{replicas} replicas cannot share a batch of {batch}: these come from a TPU's config, "
            f"as does the learning rate; keep one device, and rate x {batch} / the batch it was "
            "made for",
        )


def _steps(draft: Draft) -> None:
    path, key = "train_config.num_steps", "trainer.train_steps"
    steps = draft.get(path)
    if not steps or steps < 1:
        said = "missing" if steps is None else str(steps)
        draft.note_mistake(path, f"{said}: training never ends; train_steps is set to 25000")
        draft.approximate(path, key, value=25_000, remark="see the mistakes")
        draft.changes[key] = 25_000
    else:
        draft.take(path, key, remark="in all, also after a resume")


def optimizer(draft: Draft) -> None:
    """The optimizer, its clipping, and its learning rate."""
    optimizer = "train_config.optimizer"
    names = {"momentum_optimizer": "sgd", "rms_prop_optimizer": "rmsprop", "adam_optimizer": "adam"}
    found = [name for name in names if draft.below(f"{optimizer}.{name}")]
    if not found:
        draft.note_mistake(optimizer, "missing: SGD with momentum 0.9 and a falling rate is taken")
        found = ["momentum_optimizer"]
    path, kind = f"{optimizer}.{found[0]}", names[found[0]]
    key = f"{_OPTIMIZER}.{kind}"
    draft.changes[f"{_OPTIMIZER}.type"] = kind
    # What the old API takes where the file is silent differs from Keras' own.
    defaults = {
        "sgd": {"momentum": ("momentum_optimizer_value", 0.9)},
        "rmsprop": {
            "momentum": ("momentum_optimizer_value", 0.9),
            "rho": ("decay", 0.9),
            "epsilon": ("epsilon", 1.0),
        },
        "adam": {"epsilon": ("epsilon", 1e-8)},
    }[kind]
    for end, (name, default) in defaults.items():
        draft.changes[f"{key}.{end}"] = draft.get(f"{path}.{name}", default)
        draft.take(f"{path}.{name}", f"{key}.{end}")
    # The old API clips nothing where the file is silent; the presets clip at 10.
    clip = draft.get("train_config.gradient_clipping_by_norm", 10.0)
    draft.changes[f"{key}.global_clipnorm"] = float(clip) if clip > 0 else None
    remark = "of all gradients together" if clip > 0 else "0 clips nothing"
    shown = assignment([f"{key}.global_clipnorm"], draft.changes[f"{key}.global_clipnorm"])
    draft.record("train_config.gradient_clipping_by_norm", TAKEN, shown, remark)
    _moving_average(draft, optimizer)
    schedule(draft, f"{path}.learning_rate")


def _moving_average(draft: Draft, optimizer: str) -> None:
    average = f"{optimizer}.use_moving_average"
    if draft.get(average) is False:
        draft.built_in(average)
    for name in (average, f"{optimizer}.moving_average_decay", "eval_config.use_moving_averages"):
        if draft.get(average) is False or draft.get(name) is False:
            draft.built_in(name, "off")
        remark = "lesson 06 keeps no averages; Model Garden's trainer does: optimizer_config.ema"
        draft.no_counterpart(name, remark)


def augmentation(draft: Draft) -> None:
    """What is done to the training images."""
    ssd = draft.kind == "ssd"
    # Off, unless the file lists it: the presets mirror and scale.
    low, high = f"{PARSER}.aug_scale_min", f"{PARSER}.aug_scale_max"
    draft.changes |= {f"{PARSER}.aug_rand_hflip": False, low: 1.0, high: 1.0}
    for path, leaf in list(draft.leaves.items()):
        step = re.match(r"train_config\.data_augmentation_options(?:\[\d+\])?\.(\w+)", path)
        if not step:
            continue
        name, end = step[1], path[step.end() + 1 :]
        if name == "random_horizontal_flip":
            draft.changes[f"{PARSER}.aug_rand_hflip"] = True
            if not end:
                draft.record(path, TAKEN, f"{PARSER}.aug_rand_hflip: true")
            if end == "probability" and leaf.value != 0.5:
                remark = "every second image"
                draft.record(path, APPROXIMATED, f"{PARSER}.aug_rand_hflip: true", remark)
        elif name == "random_vertical_flip":
            if ssd:
                draft.no_counterpart(path, "RetinaNet mirrors left and right only")
            elif end != "keypoint_flip_permutation":
                draft.changes[f"{PARSER}.aug_rand_vflip"] = True
                draft.record(path, TAKEN, f"{PARSER}.aug_rand_vflip: true")
        elif re.fullmatch(_CROPS, name) and ssd:
            key = f"{PARSER}.aug_type.type"
            draft.changes[key] = "ssd_random_crop"
            plain = name == "ssd_random_crop" and not end
            remark = "" if plain else "with the crops of the SSD paper, without padding"
            outcome = TAKEN if plain else APPROXIMATED
            draft.record(path, outcome, f"{key}: ssd_random_crop", remark)
        elif name == "random_image_scale" or re.search("crop|pad", name):
            _scale(draft, path, name, low, high)
        elif name == "autoaugment_image":
            if ssd:
                key = f"{PARSER}.aug_type.type"
                policy = f"{PARSER}.aug_type.autoaug.augmentation_name"
                # Model Garden's default, v0, turns and shears pixels, but not boxes.
                draft.changes |= {key: "autoaug", policy: "detection_v0"}
                draft.record(path, APPROXIMATED, f"{key}: autoaug", "with the policy detection_v0")
            draft.no_counterpart(
                path, "Faster R-CNN's would move pixels, not boxes; aug_scale_min and _max"
            )


def _scale(draft: Draft, path: str, name: str, low: str, high: str) -> None:
    """Random crops, padding and scales, all of which are a random zoom in Model Garden."""
    place = path[: path.rindex(name) + len(name)]
    if name == "random_image_scale":
        zoom = (
            draft.get(f"{place}.min_scale_ratio", 0.5),
            draft.get(f"{place}.max_scale_ratio", 2.0),
        )
    else:
        area = draft.get(f"{place}.min_area", 0.25)
        area = area if isinstance(area, (int, float)) and area > 0 else 0.25
        # A crop of a quarter of the image doubles what it shows.
        crop = min(2.0, round(area**-0.5, 2)) if "crop" in name else 1.0
        zoom = (0.5 if "pad" in name else 1.0), crop
    draft.changes[low] = float(min(draft.changes[low], zoom[0]))
    draft.changes[high] = float(max(draft.changes[high], zoom[1]))
    key = f"{assignment([low], draft.changes[low])}, {assignment([high], draft.changes[high])}"
    remark = "a random zoom into the input size, cropped or padded; boxes follow"
    draft.record(path, APPROXIMATED, key, remark)


def checkpoint(draft: Draft) -> None:
    """The pretrained weights."""
    train = "train_config"
    remark = "the old API names weights otherwise; set task.init_checkpoint to one of Model Garden"
    draft.no_counterpart(f"{train}.fine_tune_checkpoint", remark)
    key = "task.init_checkpoint_modules"
    modules = {
        "classification": "backbone",
        "detection": ["backbone", "decoder"],
        "fine_tune": ["backbone", "decoder"],
        "full": "all",
        True: ["backbone", "decoder"],
        False: "backbone",
    }
    remark = "for a task.init_checkpoint of Model Garden"
    for name in ("fine_tune_checkpoint_type", "from_detection_checkpoint"):
        path = f"{train}.{name}"
        value = draft.get(path)
        if value in modules:
            draft.take(path, key, value=modules[value], remark=remark)
        elif value:
            draft.note_mistake(
                path,
                f"{value!r} is no type of checkpoint; it is classification, detection or full",
            )
            draft.no_counterpart(path, "see the mistakes")
        draft.no_counterpart(path, "no checkpoint, nothing to load")


def evaluation(draft: Draft) -> None:
    """How much is evaluated, and by what."""
    path, key = "eval_config.batch_size", "task.validation_data.global_batch_size"
    batch = draft.get(path) or draft.setting("task.train_data.global_batch_size")
    draft.changes[key] = batch
    draft.take(path, key, value=batch)
    examples, most = "eval_config.num_examples", "eval_config.max_evals"
    count, evaluations = draft.get(examples), draft.get(most, 0)
    # A number of batches that the records cannot fill ends the evaluation in an error.
    draft.changes["trainer.validation_steps"] = -1
    outcome = APPROXIMATED if count else TAKEN
    remark = f"all images there are, be they {count} or not" if count else "all images"
    draft.record(examples, outcome, "trainer.validation_steps: -1", remark)
    if evaluations and count:
        draft.note_mistake(
            most,
            f"evaluation stops for good after {evaluations} times ({count} images each), and no "
            "later checkpoint gets a score; Model Garden evaluates until training ends",
        )
        draft.no_counterpart(most, "see the mistakes")
    path, sets = "eval_config.metrics_set", draft.get("eval_config.metrics_set", [])
    if sets and all(name.startswith("coco_detection") for name in sets):
        draft.take(path, "task.use_coco_metrics", value=True)
    else:
        draft.no_counterpart(path, "it has COCO metrics only; AP50 is nearest to PASCAL's mAP")
    path = "eval_config.num_visualizations"
    shown = (draft.get(path) or 0) > 0
    remark = "in Model Garden's own trainer; lesson 08 draws them here"
    draft.approximate(path, "task.allow_image_summary", value=shown, remark=remark)
    path, remark = "eval_config.include_metrics_per_category", "needs a changed pycocotools"
    draft.take(path, "task.per_category_metrics", remark=remark)
