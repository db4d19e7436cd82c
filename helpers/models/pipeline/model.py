"""Rules for the `model` of a `pipeline.config`: classes, sizes, anchors, layers, detections."""

import math
from pathlib import Path

from helpers.annotations.label_map import read_label_map
from helpers.common.errors import CourseError
from helpers.models.pipeline.draft import APPROXIMATED, MODEL, TAKEN, Draft, assignment
from helpers.models.pipeline.fields import counterparts

_CLASSES = f"{MODEL}.num_classes"


def classes(draft: Draft) -> None:
    """The number of classes; the label map knows better, where there is one."""
    path, key = f"model.{draft.kind}.num_classes", _CLASSES
    count = draft.get(path)
    labels, read = None, ""
    for reader in draft.readers():
        name = draft.get(f"{reader}.label_map_path")
        places = [] if name is None else [Path(name), Path(draft.path).parent / name]
        for place in (place for place in places if place.is_file() and labels is None):
            try:
                labels, read = max(read_label_map(place).values()), f"{reader}.label_map_path"
            except CourseError as error:
                draft.note_mistake(f"{reader}.label_map_path", f"cannot be read: {error}")
    right = labels or max(count or 1, 1)
    if count is None or count < 1:
        said = "missing" if count is None else f"{count}: nothing to find"
        draft.note_mistake(path, f"{said}; num_classes is set to {right + 1}: {right} + background")
    elif labels and labels != count:
        draft.note_mistake(
            path,
            f"{count}, but the ids of the label map go up to {labels}; num_classes is set to "
            f"{labels + 1}, or the highest would be trained as background",
        )
    draft.changes[key] = right + 1
    if labels:
        remark = "read: its highest id, and the background"
        draft.record(read, TAKEN, assignment([key], right + 1), remark)
    if count == right:
        draft.take(path, key, value=right + 1, remark="one more: class 0 is the background")
    else:
        draft.approximate(path, key, value=right + 1, remark="see the mistakes")


def levels(draft: Draft) -> None:
    """The levels of the feature pyramid."""
    model = f"model.{draft.kind}"
    anchors = "anchor_generator" if draft.kind == "ssd" else "first_stage_anchor_generator"
    for end, low, high in (("min_level", 2, 5), ("max_level", 5, 8)):
        for part in (f"{anchors}.multiscale_anchor_generator", "feature_extractor.fpn"):
            path, key = f"{model}.{part}.{end}", f"{MODEL}.{end}"
            level = draft.get(path)
            if level is not None and not low <= level <= high:
                remark = f"levels from {low} to {high} can be built"
                clipped = min(high, max(low, level))
                draft.approximate(path, key, value=clipped, remark=remark)
            draft.take(path, key)
        if draft.below(f"{model}.{anchors}.multiscale_anchor_generator"):
            draft.changes.setdefault(f"{MODEL}.{end}", 3 if end == "min_level" else 7)


def size(draft: Draft) -> None:
    """The input size, as a multiple of the largest stride."""
    key, stride = f"{MODEL}.input_size", 2 ** draft.setting(f"{MODEL}.max_level")
    wanted, how = _wanted_size(draft)
    rounded = [max(stride, math.ceil(side / stride) * stride) for side in wanted.values()]
    draft.changes[key] = [*rounded, 3]
    become = assignment([key], draft.changes[key])
    for (path, side), nearest in zip(wanted.items(), rounded, strict=True):
        if side == nearest and not how:
            draft.record(path, TAKEN, become)
            continue
        exact = f"{side} stays" if side == nearest else f"{side} -> {nearest}"
        remark = f"{exact}: a multiple of 2^max_level = {stride}{how}"
        draft.record(path, APPROXIMATED, become, remark)
    pad = f"model.{draft.kind}.image_resizer.keep_aspect_ratio_resizer.pad_to_max_dimension"
    draft.record(pad, TAKEN, become, "a square")


def _wanted_size(draft: Draft) -> tuple[dict[str, int], str]:
    """The two sides that the file asks for, by field, and how images get that size here."""
    resizer = f"model.{draft.kind}.image_resizer"
    fixed, keep = f"{resizer}.fixed_shape_resizer", f"{resizer}.keep_aspect_ratio_resizer"
    if draft.below(fixed):
        sides = (f"{fixed}.height", f"{fixed}.width")
        # RetinaNet could squeeze them in training, but the course's detector never does.
        how = "; images keep their shape and are padded instead of squeezed"
        return {side: draft.get(side, 300) for side in sides}, how
    if draft.below(keep):
        short, long = f"{keep}.min_dimension", f"{keep}.max_dimension"
        most, how = draft.get(long, 1024), "; images keep their shape and are padded"
        if draft.get(f"{keep}.pad_to_max_dimension", False):
            return {short: most, long: most}, how
        draft.built_in(f"{keep}.pad_to_max_dimension")
        how += ", made for wide ones: swap the two sides for upright ones"
        return {short: draft.get(short, 600), long: most}, how
    height, width, _ = draft.setting(f"{MODEL}.input_size")
    if not draft.below(resizer) or resizer in draft.leaves:
        taken = f"{height} x {width}"
        draft.note_mistake(resizer, f"missing: no input size; the preset's {taken} is taken")
    return {"height": height, "width": width}, ""


def anchors(draft: Draft) -> None:
    """Sizes and shapes of the anchors."""
    ssd = draft.kind == "ssd"
    name = "anchor_generator" if ssd else "first_stage_anchor_generator"
    model = f"model.{draft.kind}.{name}"
    anchor, level = f"{MODEL}.anchor", 2 ** draft.setting(f"{MODEL}.min_level")
    grid, old = f"{model}.grid_anchor_generator", f"{model}.ssd_anchor_generator"
    if draft.below(grid):
        scales = draft.get(f"{grid}.scales", [0.5, 1.0, 2.0])
        side = draft.get(f"{grid}.height", 256)
        smallest = round(min(scales) * side / level, 3)
        remark = f"the smallest anchor stays {min(scales) * side:g} pixels; each level doubles it"
        key, ratios = f"{anchor}.anchor_size", f"{anchor}.aspect_ratios"
        draft.approximate(f"{grid}.scales", key, value=smallest, remark=remark)
        for end in ("height", "width"):
            draft.approximate(f"{grid}.{end}", key, value=smallest, remark=remark)
        if not ssd:
            return
        draft.take(f"{grid}.aspect_ratios", ratios)
    if draft.below(old):
        _ssd_anchors(draft, old, anchor, level)


def _ssd_anchors(draft: Draft, old: str, anchor: str, level: int) -> None:
    """The anchors of SSD: a range of scales, as shares of the image, over the maps."""
    side = min(draft.setting(f"{MODEL}.input_size")[:2])
    scales = draft.get(f"{old}.scales")
    least = min(scales) if scales else draft.get(f"{old}.min_scale", 0.2)
    size = max(1.0, round(least * side / level, 3))
    most = size * 2 ** draft.setting(f"{MODEL}.max_level")
    remark = f"anchors from {size * level:g} to {most:g} pixels; each level doubles them"
    if draft.get(f"{old}.reduce_boxes_in_lowest_layer", True):
        square = 0.1 * min(_wanted_size(draft)[0].values())
        remark += f"; the old API had a square of {square:g} pixels besides, by default"
    key = f"{anchor}.anchor_size"
    for name in ("min_scale", "scales"):
        draft.approximate(f"{old}.{name}", key, value=size, remark=remark)
    remark += "; set task.model.max_level for another end"
    for name in ("max_scale", "num_layers"):
        draft.record(f"{old}.{name}", APPROXIMATED, assignment([key], size), remark)
    remark = "the same shapes on all levels, and also the lowest"
    key = f"{anchor}.aspect_ratios"
    ratios = draft.get(f"{old}.aspect_ratios")
    draft.approximate(f"{old}.aspect_ratios", key, value=ratios, remark=remark)
    # SSD has one more square anchor, between this level's scale and the next.
    draft.changes[f"{anchor}.num_scales"] = 2
    path, key = f"{old}.interpolated_scale_aspect_ratio", f"{anchor}.num_scales"
    scales = 2 if draft.get(path, 1.0) > 0 else 1
    draft.approximate(path, key, value=scales, remark="a scale between the levels for all shapes")


def layers(draft: Draft) -> None:
    """Widths, normalisation, activation, weight decay."""
    model = f"model.{draft.kind}"
    for width in ("mobilenet.filter_size_scale", "resnet.depth_multiplier"):
        key = f"{MODEL}.backbone.{width}"
        if key in draft.base:
            draft.take(f"{model}.feature_extractor.depth_multiplier", key)
    frozen = f"{MODEL}.backbone.resnet.bn_trainable"
    if frozen in draft.base:
        trainable = f"{model}.feature_extractor.batch_norm_trainable"
        if draft.get(trainable) is True:
            draft.take(trainable, frozen)
    _dropout(draft, model)
    convs = f"{model}.box_predictor.convolutional_box_predictor.num_layers_before_predictor"
    count = draft.get(convs, 0)
    stays = draft.setting(f"{MODEL}.head.num_convs")
    if count:
        draft.take(convs, f"{MODEL}.head.num_convs")
    else:
        remark = f"0 -> {stays}: one head for all levels needs layers of its own"
        draft.approximate(convs, f"{MODEL}.head.num_convs", value=stays, remark=remark)
    # The first that the file names counts for all: usually the feature extractor's.
    for path in list(draft.leaves):
        if path.startswith(f"{model}.") and "hyperparams." in path:
            _hyperparameter(draft, path)


def _dropout(draft: Draft, model: str) -> None:
    """The share that dropout keeps means nothing where it is off: by default, but in one kind."""
    end = "dropout_keep_probability"
    for path in [path for path in draft.leaves if path.startswith(model) and path.endswith(end)]:
        default = path.endswith(f".convolutional_box_predictor.{end}")
        if not draft.get(path.replace(end, "use_dropout"), default) or draft.get(path) == 1:
            draft.built_in(path, "no dropout")


def _hyperparameter(draft: Draft, path: str) -> None:
    norm = f"{MODEL}.norm_activation"
    value = draft.get(path)
    if path.endswith(".batch_norm.decay"):
        key, steps = f"{norm}.norm_momentum", draft.get("train_config.num_steps") or 0
        # The average looks back over 1 / (1 - decay) steps; ten times that and it has settled.
        longest = max(0.9, 1 - 10 / steps) if steps else 1.0
        if value > longest and key not in draft.changes:
            fits = round(longest, 4)
            remark = f"the average looks back over {1 / (1 - value or 1e-9):.0f} of {steps} steps"
            draft.approximate(path, key, value=fits, remark=remark)
        else:
            draft.take(path, key, remark="0.97 or less for runs of a few hundred steps")
    elif path.endswith(".batch_norm.epsilon"):
        draft.take(path, f"{norm}.norm_epsilon")
    elif path.endswith(".l2_regularizer.weight"):
        draft.take(path, "task.losses.l2_weight_decay", remark="for the whole model")
    elif path.endswith(".activation") and value in counterparts("activations"):
        draft.take(path, f"{norm}.activation", value=counterparts("activations")[value])


def detections(draft: Draft) -> None:
    """Thresholds and counts of non-maximum suppression."""
    name = "post_processing" if draft.kind == "ssd" else "second_stage_post_processing"
    model = f"model.{draft.kind}.{name}"
    nms = f"{model}.batch_non_max_suppression"
    _most_detections(draft, nms)
    for end, keys in counterparts("nms").items():
        draft.take(f"{nms}.{end}", *keys)
    if draft.below(nms):
        draft.changes.setdefault(f"{MODEL}.detection_generator.nms_iou_threshold", 0.6)
    sigma = f"{nms}.soft_nms_sigma"
    if draft.get(sigma, 0) > 0:
        remark = "with nms_version v1, the only one that knows it"
        draft.take(sigma, f"{MODEL}.detection_generator.soft_nms_sigma", remark=remark)
        draft.changes[f"{MODEL}.detection_generator.nms_version"] = "v1"
    else:
        draft.built_in(sigma)
    path, word = f"{model}.score_converter", "SIGMOID" if draft.kind == "ssd" else "SOFTMAX"
    if draft.get(path) == word:
        draft.built_in(path)
    key = f"{MODEL}.detection_generator.use_sigmoid_probability"
    if draft.kind == "faster_rcnn" and draft.get(path) == "SIGMOID":
        draft.take(path, key, value=True)
    draft.no_counterpart(path, f"scores are always a {word.lower()}")


def _most_detections(draft: Draft, nms: str) -> None:
    """How many an image may have: Model Garden has a total only, the old API also one per class."""
    total, each = f"{nms}.max_total_detections", f"{nms}.max_detections_per_class"
    key, classes = f"{MODEL}.detection_generator.max_num_detections", draft.setting(_CLASSES) - 1
    most = draft.get(each, 100) * classes
    if draft.below(nms) and 0 < most < draft.get(total, 100):
        remark = f"{most // classes} of each class, as there are {classes}"
        draft.changes[key] = most
        for path in (total, each):
            draft.approximate(path, key, value=most, remark=remark)
