"""Rules for the losses of a `pipeline.config`, and for what the second stage learns from."""

from helpers.models.pipeline.draft import APPROXIMATED, BUILT_IN, MODEL, TAKEN, Draft, assignment


def losses(draft: Draft) -> None:
    """The losses of boxes and scores."""
    model = f"model.{draft.kind}"
    if draft.kind == "faster_rcnn":
        _second_stage(draft, model)
        return
    coder = f"{model}.box_coder.faster_rcnn_box_coder"
    names = {"y_scale": 10.0, "x_scale": 10.0, "height_scale": 5.0, "width_scale": 5.0}
    scales = [draft.get(f"{coder}.{name}", default) for name, default in names.items()]
    coded = bool(draft.below(coder)) or not draft.below(f"{model}.box_coder")
    if coded:
        key = f"{MODEL}.detection_generator.box_coder_weights"
        draft.changes[key] = scales
        for path in [coder, *(f"{coder}.{name}" for name in names)]:
            draft.record(path, TAKEN, assignment([key], scales))
    loss = f"{model}.loss"
    _box_loss(draft, loss, coded)
    focal = f"{loss}.classification_loss.weighted_sigmoid_focal"
    draft.take(f"{focal}.alpha", "task.losses.focal_loss_alpha")
    draft.take(f"{focal}.gamma", "task.losses.focal_loss_gamma")
    draft.built_in(focal)
    if draft.below(focal):
        draft.changes.setdefault("task.losses.focal_loss_gamma", 2.0)
    gamma = draft.setting("task.losses.focal_loss_gamma")
    for name in ("weighted_sigmoid", "weighted_softmax"):
        remark = (
            f"focal loss with gamma {gamma:g} weighs easy background down instead of dropping it"
        )
        draft.record(f"{loss}.classification_loss.{name}", APPROXIMATED, BUILT_IN, remark)
    for leaf in draft.below(f"{loss}.hard_example_miner"):
        draft.no_counterpart(leaf.path, "no mining: focal loss weighs easy background down")


def _box_loss(draft: Draft, loss: str, coded: bool) -> None:
    """The smooth L1 loss of boxes, which is a Huber loss."""
    huber = f"{loss}.localization_loss.weighted_smooth_l1"
    if not (coded and draft.below(loss)):
        remark = "stays as it is, since the box coder is another"
        draft.no_counterpart(f"{huber}.delta", remark)
        return
    delta, key = draft.get(f"{huber}.delta", 1.0), "task.losses.huber_loss_delta"
    draft.changes[key] = delta
    for path in (huber, f"{huber}.delta"):
        draft.record(path, TAKEN, assignment([key], delta))
    by_size = "model.ssd.normalize_loc_loss_by_codesize"
    box, scores = f"{loss}.localization_weight", f"{loss}.classification_weight"
    # Model Garden takes the mean over the four numbers of a box, the old API their sum.
    factor = 1 if draft.get(by_size, False) else 4
    total = draft.get(scores, 1.0)
    exact = factor * draft.get(box, 1.0) / (total or 1.0)
    weight = max(1, round(exact))
    key = "task.losses.box_loss_weight"
    draft.changes[key] = weight
    why = "it takes the mean of a box's four numbers" if factor == 4 else "per score weight"
    outcome = TAKEN if weight == exact else APPROXIMATED
    remark = f"{why}: {exact:g}" + ("" if weight == exact else " -> a whole number")
    draft.record(box, outcome, assignment([key], weight), remark)
    draft.record(by_size, TAKEN, assignment([key], weight))
    if total > 0:
        draft.take(scores, "task.losses.loss_weight", remark="of the sum of both losses")
    else:
        draft.no_counterpart(scores, "scores must be learned; the weight stays 1")


def _second_stage(draft: Draft, model: str) -> None:
    path, key = f"{model}.second_stage_batch_size", f"{MODEL}.roi_sampler.num_sampled_rois"
    wanted, most = draft.get(path, 64), draft.get(f"{model}.first_stage_max_proposals", 300)
    draft.changes[key] = min(wanted, most)
    if wanted > most:
        remark = f"{wanted} -> {most}: no more than there are proposals"
        draft.approximate(path, key, value=most, remark=remark)
    loss = f"{model}.second_stage_classification_loss"
    key = "task.losses.frcnn_class_use_binary_cross_entropy"
    for leaf in draft.below(f"{loss}.weighted_sigmoid"):
        if leaf.value == {}:
            draft.take(leaf.path, key, value=True)
        else:
            draft.changes[key] = True
    for leaf in draft.below(f"{loss}.weighted_sigmoid_focal"):
        draft.no_counterpart(
            leaf.path,
            "no focal loss in the second stage; try frcnn_class_loss_top_k_percent",
        )
    for leaf in draft.below(f"{model}.hard_example_miner"):
        remark = "no mining; task.losses.frcnn_class_loss_top_k_percent keeps the hardest regions"
        draft.no_counterpart(leaf.path, remark)
    crop, stride = f"{model}.initial_crop_size", draft.get(f"{model}.maxpool_stride", 1)
    size = max(1, draft.get(crop, 14) // max(1, stride))
    key = f"{MODEL}.roi_aligner.crop_size"
    remark = f"crops are made {size} x {size} at once, without pooling"
    for path in (crop, f"{model}.maxpool_kernel_size", f"{model}.maxpool_stride"):
        draft.approximate(path, key, value=size, remark=remark)
