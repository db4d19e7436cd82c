"""What the settings do that a newcomer meets: one line for each, by the end of its dotted key."""

from functools import lru_cache

_TEXT = """
runtime.mixed_precision_dtype | numbers the network computes with; bfloat16 is half as wide
runtime.distribution_strategy | where the steps are computed: one device, several, several machines
runtime.num_gpus | GPUs to use; 0 is the processor
task.annotation_file | COCO file with the objects that evaluation compares with
task.init_checkpoint | weights to start from; none starts from random numbers
task.init_checkpoint_modules | the parts of the network that take those weights
task.freeze_backbone | whether the backbone keeps the weights it starts with
losses.l2_weight_decay | pulls all weights towards 0, against learning by heart
losses.focal_loss_alpha | share of the loss that objects get against background
losses.focal_loss_gamma | how little easy background counts
losses.huber_loss_delta | error of a box from which it counts in a line, not by its square
losses.box_loss_weight | weight of the boxes against that of the classes
losses.rpn_score_weight | weight of "is there an object?" in the first stage
losses.rpn_box_weight | weight of the boxes in the first stage
losses.frcnn_class_weight | weight of the classes in the second stage
losses.frcnn_box_weight | weight of the boxes in the second stage
anchor.anchor_size | side of the smallest anchor, in cells of the finest grid
anchor.aspect_ratios | shapes of the anchors, width over height
anchor.num_scales | sizes of anchors on each level
anchor.four_boxes_on | maps with four default boxes a cell instead of six
anchor.max_scale | side of the default boxes of the last map, as a part of the image
backbone.type | the network that turns an image into features
backbone.resnet.model_id | layers of the ResNet: more see more, and take longer
backbone.resnet.depth_multiplier | width of its layers; 1 is the usual
backbone.mobilenet.model_id | version of the MobileNet
backbone.mobilenet.filter_size_scale | width of its layers; 1 is the usual
backbone.resnet_v1.model_id | layers of the ResNet: more see more, and take longer
backbone.vgg16.filter_size_scale | width of its layers; 1 is the usual
decoder.type | how features of several sizes are joined
decoder.extra_layers.batch_norm | whether the extra layers normalise, as the backbone does
decoder.extra_layers.filters | width of the extra layers, each of which halves the map
decoder.extra_layers.l2_normalize | whether the first map is scaled to one length
decoder.extra_layers.taken | maps of the backbone that objects are read off
decoder.extra_layers.without_padding | last layers that shrink a map by its rim only
decoder.fpn.num_filters | width of the feature pyramid
decoder.fpn.use_separable_conv | cheaper convolutions in the pyramid
detection_generator.box_coder_weights | how fine the steps are in which boxes are learnt
detection_generator.max_num_detections | detections kept of an image
detection_generator.nms_iou_threshold | overlap from which the lower of two detections is dropped
detection_generator.pre_nms_score_threshold | score from which a box is looked at
detection_generator.pre_nms_top_k | best boxes looked at before overlapping ones are dropped
detection_head.fc_dims | width of the second stage's dense layer
detection_head.num_convs | convolutions of the second stage
model.head.num_convs | layers that read classes and boxes off the features
model.head.num_filters | width of those layers
model.head.use_separable_conv | cheaper convolutions in those layers
model.input_size | height, width and colours of the image that the network reads, pixels
model.min_level | finest grid of the pyramid; level 3 has cells of 2^3 = 8 pixels
model.max_level | coarsest grid of the pyramid
model.num_classes | your classes + 1: class 0 is the background
norm_activation.activation | what each layer does to negative numbers
norm_activation.norm_momentum | memory of the running means; short runs want a short one
norm_activation.use_sync_bn | means over all GPUs instead of each
roi_generator.num_proposals | regions that the first stage proposes, in training
roi_generator.pre_nms_top_k | best regions looked at before overlapping ones are dropped
roi_generator.test_num_proposals | regions that the first stage proposes, in use
roi_generator.test_pre_nms_top_k | the same before overlapping ones are dropped, in use
roi_sampler.num_sampled_rois | regions of an image that the second stage learns from
roi_aligner.crop_size | side of the crop that the second stage sees, cells
rpn_head.num_filters | width of the first stage's own layer
train_data.input_path | records to learn from
train_data.global_batch_size | images a step, over all devices
train_data.shuffle_buffer_size | images among which the next one is drawn
train_data.seed | of the order and the augmentation
train_data.dtype | numbers that the images come in
parser.aug_rand_hflip | whether images are mirrored at random
parser.aug_scale_min | smallest random zoom
parser.aug_scale_max | largest random zoom
parser.aug_type.type | a recipe of random changes of colour, shape or crop
parser.keep_aspect_ratio | whether images are padded (True) or squeezed to the input size
parser.match_threshold | overlap from which an anchor learns an object
parser.unmatched_threshold | overlap below which an anchor learns background
parser.max_num_instances | objects read of an image; others are dropped
validation_data.input_path | records to evaluate on
validation_data.global_batch_size | images at a time; does not change the score
validation_data.drop_remainder | whether the last, partial batch is left out
validation_data.dtype | numbers that the images come in
trainer.train_steps | steps in all, also after a resume
trainer.validation_steps | batches to evaluate; -1 is all
learning_rate.type | how the learning rate falls
cosine.initial_learning_rate | the highest learning rate, after the warm-up
cosine.decay_steps | step at which it has fallen to 0
stepwise.boundaries | steps at which the learning rate falls
stepwise.values | learning rates between them
warmup.type | how the learning rate rises at first
linear.warmup_steps | steps until it has risen
linear.warmup_learning_rate | learning rate of the first step
optimizer.type | how a gradient becomes a step
sgd.momentum | share of the last step that the next one keeps
global_clipnorm | longest gradient; longer ones are shortened
"""


@lru_cache(maxsize=1)
def meanings() -> dict[str, str]:
    """Return {end of a dotted key: what the setting does}."""
    lines = (line.partition(" | ") for line in _TEXT.strip().splitlines())
    return {end: text for end, _, text in lines}


def meaning(key: str) -> str:
    """Return what the setting with the dotted `key` does; "" where no line tells."""
    ends = [end for end in meanings() if f".{key}".endswith(f".{end}")]
    return meanings()[max(ends, key=len)] if ends else ""
