"""Rules for the `model` of a `pipeline.config`: classes, sizes, anchors, layers, losses."""

import math
from pathlib import Path

from helpers.annotations.label_map import read_label_map
from helpers.common.errors import CourseError
from helpers.models.pipeline.draft import (
    APPROXIMATED,
    BUILT_IN,
    MODEL,
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
    readers,
    take,
    take_if,
)
from helpers.models.pipeline.fields import ACTIVATIONS, SAME_NMS


def classes(draft: Draft) -> None:
    """The number of classes; the label map knows better, where there is one."""
    path, key = f"model.{draft.kind}.num_classes", f"{MODEL}.num_classes"
    count = get(draft, path)
    labels = None
    for reader in readers(draft):
        name = get(draft, f"{reader}.label_map_path")
        places = [] if name is None else [Path(name), Path(draft.path).parent / name]
        for place in (place for place in places if place.is_file() and labels is None):
            try:
                labels = max(read_label_map(place).values())
            except (CourseError, OSError, UnicodeDecodeError) as error:
                said = " ".join(str(error).split())
                mistaken(draft, f"{reader}.label_map_path", f"cannot be read: {said}")
    right = labels or max(count or 1, 1)
    if count is None or count < 1:
        said = "missing" if count is None else f"{count}: nothing to find"
        mistaken(draft, path, f"{said}; num_classes is set to {right + 1}: {right} + background")
    elif labels and labels != count:
        mistaken(
            draft,
            path,
            f"{count}, but the ids of the label map go up to {labels}; num_classes is set to "
            f"{labels + 1}, or the highest would be trained as background",
        )
    draft.changes[key] = right + 1
    if count == right:
        take(draft, path, key, value=right + 1, remark="one more: class 0 is the background")
    else:
        approximate(draft, path, key, value=right + 1, remark="see the mistakes")


def levels(draft: Draft) -> None:
    """The levels of the feature pyramid."""
    model = f"model.{draft.kind}"
    anchors = "anchor_generator" if draft.kind == "ssd" else "first_stage_anchor_generator"
    for end, low, high in (("min_level", 2, 5), ("max_level", 5, 8)):
        for part in (f"{anchors}.multiscale_anchor_generator", "feature_extractor.fpn"):
            path, key = f"{model}.{part}.{end}", f"{MODEL}.{end}"
            level = get(draft, path)
            if level is not None and not low <= level <= high:
                remark = f"levels from {low} to {high} can be built"
                clipped = min(high, max(low, level))
                approximate(draft, path, key, value=clipped, remark=remark)
            take(draft, path, key)
        if below(f"{model}.{anchors}.multiscale_anchor_generator", draft.leaves):
            draft.changes.setdefault(f"{MODEL}.{end}", 3 if end == "min_level" else 7)


def size(draft: Draft) -> None:
    """The input size, as a multiple of the largest stride."""
    key = f"{MODEL}.input_size"
    model = f"model.{draft.kind}.image_resizer"
    fixed, keep = f"{model}.fixed_shape_resizer", f"{model}.keep_aspect_ratio_resizer"
    stride = 2 ** now(draft, f"{MODEL}.max_level")
    if below(fixed, draft.leaves):
        names = ("height", "width")
        wanted = {f"{fixed}.{name}": get(draft, f"{fixed}.{name}", 300) for name in names}
        # RetinaNet could squeeze them in training, but the course's detector never does.
        how = "; images keep their shape and are padded instead of squeezed"
    elif below(keep, draft.leaves):
        short, long = f"{keep}.min_dimension", f"{keep}.max_dimension"
        pad = f"{keep}.pad_to_max_dimension"
        padded, most = get(draft, pad, False), get(draft, long, 1024)
        wanted = {short: most if padded else get(draft, short, 600), long: most}
        how = "; images keep their shape and are padded"
        how += "" if padded else ", made for wide ones: swap the two sides for upright ones"
        if not padded:
            put(draft, pad, TAKEN, BUILT_IN, "")
    else:
        names = ("height", "width")
        wanted = dict(zip(names, now(draft, key), strict=False))
        how = ""
        if not below(model, draft.leaves) or model in draft.leaves:
            taken = " x ".join(str(side) for side in wanted.values())
            mistaken(draft, model, f"missing: no input size; the preset's {taken} is taken")
    size = [max(stride, math.ceil(side / stride) * stride) for side in wanted.values()]
    draft.changes[key] = [*size, 3]
    for (path, side), rounded in zip(wanted.items(), size, strict=True):
        outcome, remark = TAKEN, ""
        if side != rounded or how:
            outcome = APPROXIMATED
            exact = f"{side} stays" if side == rounded else f"{side} -> {rounded}"
            remark = f"{exact}: a multiple of 2^max_level = {stride}{how}"
        put(draft, path, outcome, pair([key], [*size, 3]), remark)
    put(draft, f"{keep}.pad_to_max_dimension", TAKEN, pair([key], [*size, 3]), "a square")


def anchors(draft: Draft) -> None:
    """Sizes and shapes of the anchors."""
    ssd = draft.kind == "ssd"
    name = "anchor_generator" if ssd else "first_stage_anchor_generator"
    model = f"model.{draft.kind}.{name}"
    anchor, level = f"{MODEL}.anchor", 2 ** now(draft, f"{MODEL}.min_level")
    grid, old = f"{model}.grid_anchor_generator", f"{model}.ssd_anchor_generator"
    if below(grid, draft.leaves):
        scales = get(draft, f"{grid}.scales", [0.5, 1.0, 2.0])
        side = get(draft, f"{grid}.height", 256)
        smallest = round(min(scales) * side / level, 3)
        remark = f"the smallest anchor stays {min(scales) * side:g} pixels; each level doubles it"
        key, ratios = f"{anchor}.anchor_size", f"{anchor}.aspect_ratios"
        approximate(draft, f"{grid}.scales", key, value=smallest, remark=remark)
        for end in ("height", "width"):
            approximate(draft, f"{grid}.{end}", key, value=smallest, remark=remark)
        if not ssd:
            return
        take(draft, f"{grid}.aspect_ratios", ratios)
    if below(old, draft.leaves):
        _ssd_anchors(draft, old, anchor, level)


def _ssd_anchors(draft: Draft, old: str, anchor: str, level: int) -> None:
    """The anchors of SSD: a range of scales, as shares of the image, over the maps."""
    side = min(now(draft, f"{MODEL}.input_size")[:2])
    scales = get(draft, f"{old}.scales")
    least = min(scales) if scales else get(draft, f"{old}.min_scale", 0.2)
    size = max(1.0, round(least * side / level, 3))
    most = size * 2 ** now(draft, f"{MODEL}.max_level")
    remark = f"anchors from {size * level:g} to {most:g} pixels; each level doubles them"
    key = f"{anchor}.anchor_size"
    for name in ("min_scale", "scales"):
        approximate(draft, f"{old}.{name}", key, value=size, remark=remark)
    remark += "; set task.model.max_level for another end"
    for name in ("max_scale", "num_layers"):
        put(draft, f"{old}.{name}", APPROXIMATED, pair([key], size), remark)
    remark = "the same shapes on all levels, and also the lowest"
    key = f"{anchor}.aspect_ratios"
    ratios = get(draft, f"{old}.aspect_ratios")
    approximate(draft, f"{old}.aspect_ratios", key, value=ratios, remark=remark)
    # SSD has one more square anchor, between this level's scale and the next.
    draft.changes[f"{anchor}.num_scales"] = 2
    path, key = f"{old}.interpolated_scale_aspect_ratio", f"{anchor}.num_scales"
    scales = 2 if get(draft, path, 1.0) > 0 else 1
    approximate(draft, path, key, value=scales, remark="a scale between the levels for all shapes")


def layers(draft: Draft) -> None:
    """Widths, normalisation, activation, weight decay."""
    model = f"model.{draft.kind}"
    for width in ("mobilenet.filter_size_scale", "resnet.depth_multiplier"):
        key = f"{MODEL}.backbone.{width}"
        if key in draft.base:
            take(draft, f"{model}.feature_extractor.depth_multiplier", key)
    frozen = f"{MODEL}.backbone.resnet.bn_trainable"
    if frozen in draft.base:
        take_if(draft, f"{model}.feature_extractor.batch_norm_trainable", True, frozen)
    convs = f"{model}.box_predictor.convolutional_box_predictor.num_layers_before_predictor"
    count = get(draft, convs, 0)
    stays = now(draft, f"{MODEL}.head.num_convs")
    if count:
        take(draft, convs, f"{MODEL}.head.num_convs")
    else:
        remark = f"0 -> {stays}: one head for all levels needs layers of its own"
        approximate(draft, convs, f"{MODEL}.head.num_convs", value=stays, remark=remark)
    # The first that the file names counts for all: usually the feature extractor's.
    for path in list(draft.leaves):
        if path.startswith(f"{model}.") and "hyperparams." in path:
            _hyperparameter(draft, path)


def _hyperparameter(draft: Draft, path: str) -> None:
    norm = f"{MODEL}.norm_activation"
    value = get(draft, path)
    if path.endswith(".batch_norm.decay"):
        key, steps = f"{norm}.norm_momentum", get(draft, "train_config.num_steps") or 0
        # The average looks back over 1 / (1 - decay) steps; ten times that and it has settled.
        longest = max(0.9, 1 - 10 / steps) if steps else 1.0
        if value > longest and key not in draft.changes:
            fits = round(longest, 4)
            remark = f"the average looks back over {1 / (1 - value or 1e-9):.0f} of {steps} steps"
            approximate(draft, path, key, value=fits, remark=remark)
        else:
            take(draft, path, key, remark="0.97 or less for runs of a few hundred steps")
    elif path.endswith(".batch_norm.epsilon"):
        take(draft, path, f"{norm}.norm_epsilon")
    elif path.endswith(".l2_regularizer.weight"):
        take(draft, path, "task.losses.l2_weight_decay", remark="for the whole model")
    elif path.endswith(".activation") and value in ACTIVATIONS:
        take(draft, path, f"{norm}.activation", value=ACTIVATIONS[value])


def losses(draft: Draft) -> None:
    """The losses of boxes and scores."""
    model = f"model.{draft.kind}"
    if draft.kind == "faster_rcnn":
        _second_stage(draft, model)
        return
    coder = f"{model}.box_coder.faster_rcnn_box_coder"
    names = {"y_scale": 10.0, "x_scale": 10.0, "height_scale": 5.0, "width_scale": 5.0}
    scales = [get(draft, f"{coder}.{name}", default) for name, default in names.items()]
    coded = below(coder, draft.leaves) or not below(f"{model}.box_coder", draft.leaves)
    if coded:
        key = f"{MODEL}.detection_generator.box_coder_weights"
        draft.changes[key] = scales
        for path in [coder, *(f"{coder}.{name}" for name in names)]:
            put(draft, path, TAKEN, pair([key], scales), "")
    loss = f"{model}.loss"
    _box_loss(draft, loss, coded)
    focal = f"{loss}.classification_loss.weighted_sigmoid_focal"
    take(draft, f"{focal}.alpha", "task.losses.focal_loss_alpha")
    take(draft, f"{focal}.gamma", "task.losses.focal_loss_gamma")
    put(draft, focal, TAKEN, BUILT_IN, "")
    if below(focal, draft.leaves):
        draft.changes.setdefault("task.losses.focal_loss_gamma", 2.0)
    gamma = now(draft, "task.losses.focal_loss_gamma")
    for name in ("weighted_sigmoid", "weighted_softmax"):
        remark = (
            f"focal loss with gamma {gamma:g} weighs easy background down instead of dropping it"
        )
        put(draft, f"{loss}.classification_loss.{name}", APPROXIMATED, BUILT_IN, remark)
    for leaf in below(f"{loss}.hard_example_miner", draft.leaves):
        no_counterpart(draft, leaf.path, "no mining: focal loss weighs easy background down")


def _box_loss(draft: Draft, loss: str, coded: bool) -> None:
    """The smooth L1 loss of boxes, which is a Huber loss."""
    huber = f"{loss}.localization_loss.weighted_smooth_l1"
    if not (coded and below(loss, draft.leaves)):
        remark = "stays as it is, since the box coder is another"
        no_counterpart(draft, f"{huber}.delta", remark)
        return
    delta, key = get(draft, f"{huber}.delta", 1.0), "task.losses.huber_loss_delta"
    draft.changes[key] = delta
    for path in (huber, f"{huber}.delta"):
        put(draft, path, TAKEN, pair([key], delta), "")
    by_size = "model.ssd.normalize_loc_loss_by_codesize"
    box, scores = f"{loss}.localization_weight", f"{loss}.classification_weight"
    # Model Garden takes the mean over the four numbers of a box, the old API their sum.
    factor = 1 if get(draft, by_size, False) else 4
    total = get(draft, scores, 1.0)
    exact = factor * get(draft, box, 1.0) / (total or 1.0)
    weight = max(1, round(exact))
    key = "task.losses.box_loss_weight"
    draft.changes[key] = weight
    why = "it takes the mean of a box's four numbers" if factor == 4 else "per score weight"
    outcome = TAKEN if weight == exact else APPROXIMATED
    remark = f"{why}: {exact:g}" + ("" if weight == exact else " -> a whole number")
    put(draft, box, outcome, pair([key], weight), remark)
    put(draft, by_size, TAKEN, pair([key], weight), "")
    if total > 0:
        take(draft, scores, "task.losses.loss_weight", remark="of the sum of both losses")
    else:
        no_counterpart(draft, scores, "scores must be learned; the weight stays 1")


def _second_stage(draft: Draft, model: str) -> None:
    path, key = f"{model}.second_stage_batch_size", f"{MODEL}.roi_sampler.num_sampled_rois"
    wanted, most = get(draft, path, 64), get(draft, f"{model}.first_stage_max_proposals", 300)
    draft.changes[key] = min(wanted, most)
    if wanted > most:
        remark = f"{wanted} -> {most}: no more than there are proposals"
        approximate(draft, path, key, value=most, remark=remark)
    loss = f"{model}.second_stage_classification_loss"
    key = "task.losses.frcnn_class_use_binary_cross_entropy"
    for leaf in below(f"{loss}.weighted_sigmoid", draft.leaves):
        if leaf.value == {}:
            take(draft, leaf.path, key, value=True)
        else:
            draft.changes[key] = True
    for leaf in below(f"{loss}.weighted_sigmoid_focal", draft.leaves):
        no_counterpart(
            draft,
            leaf.path,
            "no focal loss in the second stage; try frcnn_class_loss_top_k_percent",
        )
    for leaf in below(f"{model}.hard_example_miner", draft.leaves):
        remark = "no mining; task.losses.frcnn_class_loss_top_k_percent keeps the hardest regions"
        no_counterpart(draft, leaf.path, remark)
    crop, stride = f"{model}.initial_crop_size", get(draft, f"{model}.maxpool_stride", 1)
    size = max(1, get(draft, crop, 14) // max(1, stride))
    key = f"{MODEL}.roi_aligner.crop_size"
    remark = f"crops are made {size} x {size} at once, without pooling"
    for path in (crop, f"{model}.maxpool_kernel_size", f"{model}.maxpool_stride"):
        approximate(draft, path, key, value=size, remark=remark)


def detections(draft: Draft) -> None:
    """Thresholds and counts of non-maximum suppression."""
    name = "post_processing" if draft.kind == "ssd" else "second_stage_post_processing"
    model = f"model.{draft.kind}.{name}"
    nms = f"{model}.batch_non_max_suppression"
    for end, keys in SAME_NMS.items():
        take(draft, f"{nms}.{end}", *keys)
    if below(nms, draft.leaves):
        draft.changes.setdefault(f"{MODEL}.detection_generator.nms_iou_threshold", 0.6)
    sigma = f"{nms}.soft_nms_sigma"
    if get(draft, sigma, 0) > 0:
        remark = "with nms_version v1, the only one that knows it"
        take(draft, sigma, f"{MODEL}.detection_generator.soft_nms_sigma", remark=remark)
        draft.changes[f"{MODEL}.detection_generator.nms_version"] = "v1"
    else:
        put(draft, sigma, TAKEN, BUILT_IN, "")
    path, word = f"{model}.score_converter", "SIGMOID" if draft.kind == "ssd" else "SOFTMAX"
    if get(draft, path) == word:
        put(draft, path, TAKEN, BUILT_IN, "")
    key = f"{MODEL}.detection_generator.use_sigmoid_probability"
    if draft.kind == "faster_rcnn" and get(draft, path) == "SIGMOID":
        take(draft, path, key, value=True)
    no_counterpart(draft, path, f"scores are always a {word.lower()}")
