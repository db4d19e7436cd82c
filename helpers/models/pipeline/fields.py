"""What the old Object Detection API knows: the fields of a `pipeline.config`, and its networks.

One line a field: its name, its type, and, after a bar, what to do about it in Model Garden where
nothing takes it over. A star marks a repeated field. The types: int, float, bool, text, enum
(a bare word), or the name of another group in this table. Below a group of type `Any` every
field is known. A long line goes on in the next, further in.

Source: the protos in research/object_detection/protos of github.com/tensorflow/models.
"""

import difflib
import re
from functools import lru_cache
from typing import Any, NamedTuple

_TABLE = """
Pipeline
  model Model
  train_config Train
  train_input_reader Reader
  eval_config Eval
  eval_input_reader Reader*
  graph_rewriter GraphRewriter

Model
  ssd Ssd
  faster_rcnn FasterRcnn
  center_net Any
  experimental_model Any

Ssd
  num_classes int
  image_resizer ImageResizer
  feature_extractor SsdFeatureExtractor
  box_coder BoxCoder
  matcher Matcher
  similarity_calculator SimilarityCalculator
  encode_background_as_zeros bool | nothing to do: its sigmoid scores need no background class
  negative_class_weight float | focal loss weighs background: lower task.losses.focal_loss_gamma
  box_predictor BoxPredictor
  anchor_generator AnchorGenerator
  post_processing PostProcessing
  normalize_loss_by_num_matches bool | it always divides by the matches; lower the learning rate
  normalize_loc_loss_by_codesize bool | it always takes the mean of a box's four numbers
  loss Loss
  freeze_batchnorm bool | set task.model.backbone.resnet.bn_trainable: false once
      task.init_checkpoint names weights
  inplace_batchnorm_update bool | nothing to do: Keras updates the averages in each step
  add_background_class bool | nothing to do: class 0 is always the background
  explicit_background_class bool | nothing to do: class 0 is always the background
  weight_regression_loss_by_score bool | it weighs all boxes alike; leave doubtful ones out of the
      records
  use_confidences_as_targets bool | it knows no soft labels; leave doubtful boxes out of the
      records
  implicit_example_weight float | it weighs all images alike; repeat those that count more
  return_raw_detections_during_predict bool | export with detection_generator.apply_nms: false
  mask_head_config Any | train maskrcnn_resnetfpn_coco instead, which predicts masks

SsdFeatureExtractor
  type text
  depth_multiplier float | this backbone has one width only; choose a smaller one
  min_depth int | choose a filter_size_scale (MobileNet) or depth_multiplier (ResNet) that
      leaves no layer too thin
  conv_hyperparams Hyperparams
  override_base_feature_extractor_hyperparams bool | nothing to do: the settings always hold for
      the backbone too
  pad_to_multiple int | nothing to do: the input size is a multiple of 2^max_level
  use_explicit_padding bool | nothing to do: layers pad by Keras' rule
  use_depthwise bool
  fpn Fpn
  bifpn Any | set task.model.decoder.type: nasfpn, the nearest there is
  replace_preprocessor_with_placeholder bool | nothing to do: the parser normalises the images
  num_layers int | set task.model.max_level

FasterRcnn
  number_of_stages int | it always trains both stages; for masks take maskrcnn_resnetfpn_coco
  num_classes int
  image_resizer ImageResizer
  feature_extractor FasterRcnnFeatureExtractor
  first_stage_anchor_generator AnchorGenerator
  first_stage_atrous_rate int | its proposal head is not dilated: the pyramid's upper levels see
      as far
  first_stage_box_predictor_conv_hyperparams Hyperparams
  first_stage_box_predictor_kernel_size int | its proposal head has 3x3 kernels; add
      task.model.rpn_head.num_convs
  first_stage_box_predictor_depth int
  first_stage_minibatch_size int
  first_stage_positive_balance_fraction float
  first_stage_nms_score_threshold float
  first_stage_nms_iou_threshold float
  first_stage_max_proposals int
  first_stage_localization_loss_weight float
  first_stage_objectness_loss_weight float
  initial_crop_size int
  maxpool_kernel_size int
  maxpool_stride int
  second_stage_box_predictor BoxPredictor
  second_stage_batch_size int
  second_stage_balance_fraction float
  second_stage_post_processing PostProcessing
  second_stage_localization_loss_weight float
  second_stage_classification_loss_weight float
  second_stage_mask_prediction_loss_weight float | nothing to do: there are no masks
  hard_example_miner HardExampleMiner
  second_stage_classification_loss ClassificationLoss
  inplace_batchnorm_update bool | nothing to do: Keras updates the averages in each step
  use_matmul_crop_and_resize bool | nothing to do: one cropping operation runs everywhere
  use_matmul_gather_in_matcher bool | nothing to do: one gathering operation runs everywhere
  use_static_balanced_label_sampler bool | nothing to do: its sampler has fixed shapes
  use_static_shapes bool | nothing to do: its shapes are fixed
  use_static_shapes_for_eval bool | nothing to do: its shapes are fixed
  clip_anchors_to_image bool | nothing to do: proposals are clipped, anchors are not
  resize_masks bool | nothing to do: there are no masks
  return_raw_detections_during_predict bool | export with detection_generator.apply_nms: false
  use_combined_nms_in_first_stage bool | set task.model.roi_generator.use_batched_nms
  output_final_box_features bool | it gives boxes only
  output_final_box_rpn_features bool | it gives boxes only
  context_config Any | it knows no context features; train on the frames alone

FasterRcnnFeatureExtractor
  type text
  first_stage_features_stride int | proposals come from a pyramid with strides 4 to 64; set
      task.model.min_level
  batch_norm_trainable bool | set task.model.backbone.resnet.bn_trainable: false once
      task.init_checkpoint names weights
  conv_hyperparams Hyperparams
  override_base_feature_extractor_hyperparams bool | nothing to do: the settings always hold for
      the backbone too
  pad_to_multiple int | nothing to do: the input size is a multiple of 2^max_level
  fpn Fpn

Fpn
  min_level int
  max_level int
  additional_layer_depth int
  resize_method enum | nothing to do: the pyramid enlarges by the nearest pixel

ImageResizer
  fixed_shape_resizer FixedShapeResizer
  keep_aspect_ratio_resizer KeepAspectRatioResizer
  identity_resizer Any | set task.model.input_size to the size of the images
  conditional_shape_resizer Any | set task.model.input_size: all images get one size
  pad_to_multiple_resizer Any | set task.model.input_size: all images get one size

FixedShapeResizer
  height int
  width int
  resize_method enum | it always resizes bilinearly; resize the images before you write records
  convert_to_grayscale bool | write records of grey images: it takes three channels only

KeepAspectRatioResizer
  min_dimension int
  max_dimension int
  resize_method enum | it always resizes bilinearly; resize the images before you write records
  pad_to_max_dimension bool
  convert_to_grayscale bool | write records of grey images: it takes three channels only
  per_channel_pad_value float* | it pads with zeros after normalising, which is the mean colour

BoxCoder
  faster_rcnn_box_coder FasterRcnnBoxCoder
  mean_stddev_box_coder Any | set task.model.detection_generator.box_coder_weights: its only box
      coder is that of Faster R-CNN
  square_box_coder Any | set task.model.anchor.aspect_ratios: [1.0]; its only box coder is that of
      Faster R-CNN
  keypoint_box_coder Any | it predicts no keypoints; train boxes only

FasterRcnnBoxCoder
  y_scale float
  x_scale float
  height_scale float
  width_scale float

Matcher
  argmax_matcher ArgMaxMatcher
  bipartite_matcher Any | set task.train_data.parser.match_threshold: it matches by overlap only
  hungarian_matcher Any | set task.train_data.parser.match_threshold: it matches by overlap only

ArgMaxMatcher
  matched_threshold float
  unmatched_threshold float
  ignore_thresholds bool | set task.train_data.parser.match_threshold to 0.5, as all thresholds
      count here
  negatives_lower_than_unmatched bool | anchors between the thresholds are always left out; set
      both alike
  force_match_for_each_row bool | every box always gets its best anchor
  use_matmul_gather bool | nothing to do: one gathering operation runs everywhere

SimilarityCalculator
  iou_similarity Empty
  ioa_similarity Empty | it matches by intersection over union only
  neg_sq_dist_similarity Empty | it matches by intersection over union only
  thresholded_iou_similarity Any | it matches by intersection over union only

BoxPredictor
  convolutional_box_predictor ConvolutionalBoxPredictor
  weight_shared_convolutional_box_predictor SharedBoxPredictor
  mask_rcnn_box_predictor MaskRcnnBoxPredictor
  rfcn_box_predictor Any | it has no R-FCN; the heads of Faster R-CNN take its place

ConvolutionalBoxPredictor
  conv_hyperparams Hyperparams
  min_depth int | set task.model.head.num_filters
  max_depth int | set task.model.head.num_filters
  num_layers_before_predictor int | SSD only; else task.model.detection_head.num_convs
  use_dropout bool | its heads have no dropout; raise task.losses.l2_weight_decay against
      overfitting
  dropout_keep_probability float | its heads have no dropout; raise task.losses.l2_weight_decay
      against overfitting
  kernel_size int | its heads have 3x3 kernels
  box_code_size int | boxes are always four numbers
  apply_sigmoid_to_scores bool | nothing to do: scores are always sigmoids
  class_prediction_bias_init float | it always starts at -4.6, a score of 0.01
  use_depthwise bool | SSD only; task.model.detection_head.use_separable_conv
  box_encodings_clip_range Any | nothing to do: boxes are clipped when they are decoded

SharedBoxPredictor
  conv_hyperparams Hyperparams
  num_layers_before_predictor int | SSD only; else task.model.detection_head.num_convs
  depth int | SSD only; else task.model.detection_head.num_filters
  kernel_size int | its heads have 3x3 kernels
  box_code_size int | boxes are always four numbers
  class_prediction_bias_init float | it always starts at -4.6, a score of 0.01
  use_dropout bool | its heads have no dropout; raise task.losses.l2_weight_decay against
      overfitting
  dropout_keep_probability float | its heads have no dropout; raise task.losses.l2_weight_decay
      against overfitting
  share_prediction_tower bool | classes and boxes always have a tower each
  use_depthwise bool | SSD only; task.model.detection_head.use_separable_conv
  apply_batch_norm bool | its heads always normalise
  score_converter enum | nothing to do: scores are always sigmoids
  box_encodings_clip_range Any | nothing to do: boxes are clipped when they are decoded

MaskRcnnBoxPredictor
  fc_hyperparams Hyperparams
  use_dropout bool | its heads have no dropout; raise task.losses.l2_weight_decay against
      overfitting
  dropout_keep_probability float | its heads have no dropout; raise task.losses.l2_weight_decay
      against overfitting
  box_code_size int | boxes are always four numbers
  conv_hyperparams Hyperparams
  predict_instance_masks bool | train maskrcnn_resnetfpn_coco instead, which predicts masks
  mask_prediction_conv_depth int | nothing to do: there are no masks
  predict_keypoints bool | it predicts no keypoints; train boxes only
  mask_height int | nothing to do: there are no masks
  mask_width int | nothing to do: there are no masks
  mask_prediction_num_conv_layers int | nothing to do: there are no masks
  masks_are_class_agnostic bool | nothing to do: there are no masks
  share_box_across_classes bool | Faster R-CNN only; an SSD always has one box for all classes
  convolve_then_upsample_masks bool | nothing to do: there are no masks

Hyperparams
  op enum | nothing to do: heads are convolutions and dense layers where they must be
  regularizer Regularizer
  initializer Initializer
  activation enum | set task.model.norm_activation.activation, such as relu, relu6 or swish
  batch_norm BatchNorm
  group_norm Empty | it has batch normalisation only; use a batch of 8 or more
  regularize_depthwise bool | nothing to do: the weight decay counts all kernels
  force_use_bias bool | nothing to do: layers before a normalisation need no bias

Regularizer
  l1_regularizer L1Regularizer
  l2_regularizer L2Regularizer

L1Regularizer
  weight float | set task.losses.l2_weight_decay: it decays by the square only

L2Regularizer
  weight float

Initializer
  truncated_normal_initializer Any | nothing to do: it has initial weights of its own
  variance_scaling_initializer Any | nothing to do: it has initial weights of its own
  random_normal_initializer Any | nothing to do: it has initial weights of its own
  keras_initializer_by_name text | nothing to do: it has initial weights of its own

BatchNorm
  decay float
  center bool | nothing to do: it always learns a shift
  scale bool | nothing to do: it always learns a scale
  epsilon float
  train bool | set task.freeze_backbone: true once task.init_checkpoint names weights

AnchorGenerator
  grid_anchor_generator GridAnchorGenerator
  ssd_anchor_generator SsdAnchorGenerator
  multiscale_anchor_generator MultiscaleAnchorGenerator
  flexible_grid_anchor_generator Any | set task.model.anchor.anchor_size and aspect_ratios, one
      for all levels

GridAnchorGenerator
  height int
  width int
  height_stride int | proposals come from a pyramid with strides 4 to 64; set task.model.min_level
  width_stride int | proposals come from a pyramid with strides 4 to 64; set task.model.min_level
  height_offset int | nothing to do: anchors stand on the middle of their cell
  width_offset int | nothing to do: anchors stand on the middle of their cell
  scales float*
  aspect_ratios float*

SsdAnchorGenerator
  num_layers int
  min_scale float
  max_scale float
  scales float*
  aspect_ratios float*
  interpolated_scale_aspect_ratio float
  reduce_boxes_in_lowest_layer bool | all levels have the same anchors; lower
      task.model.anchor.num_scales for fewer
  base_anchor_height float | set task.model.anchor.aspect_ratios
  base_anchor_width float | set task.model.anchor.aspect_ratios
  height_stride int* | strides are 2^level; set task.model.min_level and max_level
  width_stride int* | strides are 2^level; set task.model.min_level and max_level
  height_offset int* | nothing to do: anchors stand on the middle of their cell
  width_offset int* | nothing to do: anchors stand on the middle of their cell

MultiscaleAnchorGenerator
  min_level int
  max_level int
  anchor_scale float
  aspect_ratios float*
  scales_per_octave int
  normalize_coordinates bool | nothing to do: anchors are in pixels, and so are the boxes

PostProcessing
  batch_non_max_suppression Nms
  score_converter enum
  logit_scale float | scores are not scaled; move your score threshold instead
  calibration_config Any | calibrate the scores after detection, outside the model

Nms
  score_threshold float
  iou_threshold float
  max_detections_per_class int | set task.model.detection_generator.max_num_detections, over all
      classes
  max_total_detections int
  use_static_shapes bool | nothing to do: its shapes are fixed
  use_class_agnostic_nms bool | SSD only; run non-maximum suppression again after detection
  max_classes_per_detection int | drop the lower scores of a box after detection
  soft_nms_sigma float
  combined_nms bool | set task.model.detection_generator.nms_version
  use_partitioned_nms bool | set task.model.detection_generator.nms_version
  use_combined_nms bool | set task.model.detection_generator.nms_version
  change_coordinate_frame bool | nothing to do: boxes are clipped to the image
  use_hard_nms bool | nothing to do: it is hard unless soft_nms_sigma is set
  use_cpu_nms bool

Loss
  localization_loss LocalizationLoss
  classification_loss ClassificationLoss
  hard_example_miner HardExampleMiner
  classification_weight float
  localization_weight float
  random_example_sampler Any | nothing to do: focal loss weighs easy examples down
  equalization_loss Any | set task.losses.class_weights (Faster R-CNN), or repeat images with rare
      classes
  expected_loss_weights enum | nothing to do: focal loss weighs easy examples down
  min_num_negative_samples float | nothing to do: focal loss weighs easy examples down
  desired_negative_sampling_ratio float | nothing to do: focal loss weighs easy examples down

LocalizationLoss
  weighted_smooth_l1 SmoothL1
  weighted_l2 Any | set task.losses.huber_loss_delta to 100, above which alone it is not a square
  weighted_iou Empty | it has a Huber loss only; keep it, and judge by AP75
  l1_localization_loss Empty | set task.losses.huber_loss_delta to 0.01, above which it is linear
  weighted_giou Empty | it has a Huber loss only; keep it, and judge by AP75

SmoothL1
  anchorwise_output bool | nothing to do: the old API ignored it too
  delta float

ClassificationLoss
  weighted_sigmoid WeightedSigmoid
  weighted_softmax WeightedSoftmax
  weighted_logits_softmax Any | it learns from labels, not from another model's scores
  bootstrapped_sigmoid Any | it trusts the labels; have the audit of lesson 03 find the wrong ones
  weighted_sigmoid_focal Focal
  weighted_dice_classification_loss Any | focal loss takes its place
  penalty_reduced_logistic_focal_loss Any | focal loss takes its place

WeightedSigmoid
  anchorwise_output bool | nothing to do: the old API ignored it too

WeightedSoftmax
  anchorwise_output bool | nothing to do: the old API ignored it too
  logit_scale float | scores are not scaled; move your score threshold instead

Focal
  anchorwise_output bool | nothing to do: the old API ignored it too
  gamma float
  alpha float

HardExampleMiner
  num_hard_examples int
  iou_threshold float
  loss_type enum
  max_negatives_per_positive int
  min_negatives_per_image int

Train
  batch_size int
  data_augmentation_options Augmentation*
  sync_replicas bool | nothing to do: all devices always step together; see runtime.num_gpus
  keep_checkpoint_every_n_hours int | set trainer.checkpoint_interval, in steps, and
      trainer.max_to_keep
  optimizer Optimizer
  gradient_clipping_by_norm float
  fine_tune_checkpoint text
  fine_tune_checkpoint_type text
  fine_tune_checkpoint_version enum | nothing to do: Model Garden has one kind of checkpoint
  from_detection_checkpoint bool
  load_all_detection_checkpoint_vars bool | set task.init_checkpoint_modules: all, when the
      classes are the same
  num_steps int
  startup_delay_steps float | nothing to do: all devices start together
  bias_grad_multiplier float | biases learn at the rate of all weights
  update_trainable_variables text* | set task.freeze_backbone: true to train the rest only
  freeze_variables text* | set task.freeze_backbone: true once task.init_checkpoint names weights;
      no finer choice
  replicas_to_aggregate int | set runtime.num_gpus: all devices step together
  batch_queue_capacity int | nothing to do: tf.data tunes its queues
  num_batch_queue_threads int | nothing to do: tf.data tunes its queues
  prefetch_queue_capacity int | nothing to do: tf.data tunes its queues
  merge_multiple_label_boxes bool | write one label a box into the records
  use_multiclass_scores bool | it learns from labels, not from another model's scores
  max_number_of_boxes int
  unpad_groundtruth_tensors bool | nothing to do: padding never counts in its losses
  add_regularization_loss bool
  use_bfloat16 bool
  retain_original_images bool | nothing to do: the records keep the images
  retain_original_image_additional_channels bool | it takes three channels only
  summarize_gradients bool | nothing to do: the history keeps losses and rates

Optimizer
  rms_prop_optimizer RmsProp
  momentum_optimizer Momentum
  adam_optimizer Adam
  use_moving_average bool
  moving_average_decay float

RmsProp
  learning_rate LearningRate
  momentum_optimizer_value float
  decay float
  epsilon float

Momentum
  learning_rate LearningRate
  momentum_optimizer_value float

Adam
  learning_rate LearningRate
  epsilon float

LearningRate
  constant_learning_rate ConstantRate
  exponential_decay_learning_rate ExponentialRate
  manual_step_learning_rate ManualRate
  cosine_decay_learning_rate CosineRate

ConstantRate
  learning_rate float

ExponentialRate
  initial_learning_rate float
  decay_steps int
  decay_factor float
  staircase bool
  burnin_learning_rate float
  burnin_steps int
  min_learning_rate float

ManualRate
  initial_learning_rate float
  schedule RateStep*
  warmup bool

RateStep
  step int
  learning_rate float

CosineRate
  learning_rate_base float
  total_steps int
  warmup_learning_rate float
  warmup_steps int
  hold_base_rate_steps int

Augmentation
  normalize_image Any | nothing to do: its parser normalises by the mean and deviation of ImageNet
  random_horizontal_flip Flip
  random_vertical_flip Flip
  random_pixel_value_scale Any | no single colour operation; aug_type randaug holds them among
      others
  random_image_scale ImageScale
  random_rgb_to_gray Any | no single colour operation; aug_type randaug holds them among others
  random_adjust_brightness Any | no single colour operation; aug_type randaug holds them among
      others
  random_adjust_contrast Any | no single colour operation; aug_type randaug holds them among
      others
  random_adjust_hue Any | no single colour operation; aug_type randaug holds them among others
  random_adjust_saturation Any | no single colour operation; aug_type randaug holds them among
      others
  random_distort_color Any | no single colour operation; aug_type randaug holds them among others
  random_jitter_boxes Any | boxes are never moved; aug_scale_min and aug_scale_max move the image
  random_crop_image CropImage
  random_pad_image Any
  random_absolute_pad_image Any
  random_crop_pad_image Any
  random_crop_to_aspect_ratio Any
  random_black_patches Any | no single patches; aug_type randaug holds them among others
  random_patch_gaussian Any | no noise; aug_type randaug is the nearest
  random_downscale_to_target_pixels Any | set aug_scale_min, which shrinks images
  random_jpeg_quality Any | add the key task.train_data.parser.aug_rand_jpeg (RetinaNet) by hand
  random_resize_method Any | it always resizes bilinearly
  scale_boxes_to_pixel_coordinates Any | nothing to do: the parser does
  resize_image Any | set task.model.input_size
  subtract_channel_mean Any | nothing to do: its parser normalises by the mean and deviation of
      ImageNet
  ssd_random_crop Any
  ssd_random_crop_pad Any
  ssd_random_crop_fixed_aspect_ratio Any
  ssd_random_crop_pad_fixed_aspect_ratio Any
  random_rotation90 Any | turn images before you write records; few roads stand upright
  random_self_concat_image Any | it shows one image at a time
  random_square_crop_by_scale CropByScale
  rgb_to_gray Any | write records of grey images: it takes three channels only
  drop_label_probabilistically Any | leave labels out of the records
  remap_labels Any | write other labels into the records
  convert_class_logits_to_softmax Any | it learns from labels only
  autoaugment_image Any

Flip
  keypoint_flip_permutation int* | it predicts no keypoints; train boxes only
  probability float

ImageScale
  min_scale_ratio float
  max_scale_ratio float

CropImage
  min_object_covered float
  min_aspect_ratio float
  max_aspect_ratio float
  min_area float
  max_area float
  overlap_thresh float
  clip_boxes bool
  random_coef float

CropByScale
  max_border int
  scale_min float
  scale_max float
  num_scales int

Eval
  batch_size int
  num_visualizations int
  num_examples int
  eval_interval_secs int | set trainer.validation_interval, in steps; lesson 06 calls
      evaluate_every
  max_evals int | it evaluates until training ends
  save_graph bool | nothing to do: the config says what the model is
  visualization_export_dir text | lesson 08 draws detections into its figures
  eval_master text | nothing to do: it evaluates where it trains
  metrics_set text*
  export_path text | lesson 08 writes the detections as COCO json
  ignore_groundtruth bool | run lesson 11, which needs no boxes
  use_moving_averages bool
  eval_instance_masks bool | nothing to do: there are no masks
  min_score_threshold float | lesson 11 asks for the score from which boxes are drawn
  max_num_boxes_to_visualize int | lesson 11 draws all boxes above its score
  skip_scores bool | lesson 11 draws label and score
  skip_labels bool | lesson 11 draws label and score
  visualize_groundtruth_boxes bool | lesson 08 draws both: objects solid, detections dashed
  groundtruth_box_visualization_color text | lesson 08 draws both: objects solid, detections
      dashed
  keep_image_id_for_visualization_export bool | lesson 08 names the images
  retain_original_images bool | nothing to do: the records keep the images
  retain_original_image_additional_channels bool | it takes three channels only
  include_metrics_per_category bool
  super_categories Any | group the classes after evaluation
  recall_lower_bound float | COCO metrics count all recalls
  recall_upper_bound float | COCO metrics count all recalls
  all_metrics_per_category bool | COCO metrics of one class come from its boxes alone
  force_no_resize bool | evaluation resizes as training does
  use_dummy_loss_in_eval bool | nothing to do: the loss of validation is optional
  keypoint_edge Any | it predicts no keypoints; train boxes only
  parameterized_metric Any | it has COCO metrics only

Reader
  name text | nothing to do: a note
  label_map_path text
  shuffle bool
  shuffle_buffer_size int
  filenames_shuffle_buffer_size int | nothing to do: it shuffles all file names
  num_epochs int | set trainer.train_steps: records are read again until then
  sample_1_of_n_examples int | write fewer records
  sample_from_datasets_weights float* | name the files that count more several times in
      task.train_data.input_path
  num_readers int
  num_parallel_batches int | nothing to do: tf.data tunes its queues
  num_prefetch_batches int | nothing to do: tf.data tunes its queues
  queue_capacity int | nothing to do: tf.data tunes its queues
  min_after_dequeue int | nothing to do: tf.data tunes its queues
  read_block_length int
  prefetch_size int | nothing to do: tf.data tunes its queues
  num_parallel_map_calls int | nothing to do: tf.data tunes its queues
  drop_remainder bool
  num_additional_channels int | it takes three channels only
  num_keypoints int | it predicts no keypoints; train boxes only
  keypoint_type_weight float* | it predicts no keypoints; train boxes only
  max_number_of_boxes int
  load_multiclass_scores bool | it learns from labels, not from another model's scores
  load_context_features bool | it knows no context features; train on the frames alone
  load_instance_masks bool | train maskrcnn_resnetfpn_coco instead, which predicts masks
  mask_type enum | nothing to do: there are no masks
  load_dense_pose bool | it predicts boxes only
  load_track_id bool | tracking is a step after detection
  load_keypoint_depth_features bool | it predicts no keypoints; train boxes only
  use_display_name bool | nothing to do: the records hold class numbers
  include_source_id bool | nothing to do: each record holds its id
  input_type enum | nothing to do: records are tf.train.Examples
  frame_index int | write one record a frame
  expand_labels_hierarchy bool | write the labels that count into the records
  tf_record_input_reader RecordReader
  external_input_reader Any | write TFRecord files (lesson 04)

RecordReader
  input_path text*

GraphRewriter
  quantization Quantization

Quantization
  delay int | export an int8 TFLite file after training (lesson 10); to train quantised,
      official.projects.qat
  weight_bits int | export an int8 TFLite file after training (lesson 10): 8 bits
  activation_bits int | export an int8 TFLite file after training (lesson 10): 8 bits
  symmetric bool | nothing to do: TFLite quantises weights symmetrically

Empty
"""


class Known(NamedTuple):
    """What is known of a field: its type, whether it repeats, what to do about it ("" if taken)."""

    kind: str
    repeated: bool
    advice: str


@lru_cache(maxsize=1)
def groups() -> dict[str, dict[str, Known]]:
    """Return {group: {field: Known}} of the whole table; "Pipeline" is the file itself."""
    table: dict[str, dict[str, Known]] = {}
    group: dict[str, Known] = {}
    for line in re.sub(r"\n {6,}", " ", _TABLE).splitlines():
        if line.startswith("  "):
            field, _, advice = line.strip().partition(" | ")
            name, kind = field.split()
            group[name] = Known(kind.rstrip("*"), kind.endswith("*"), advice)
        elif line:
            group = table.setdefault(line, {})
    return table


def nearest(name: str, group: str) -> str:
    """Return "did you mean …?" for a field that `group` does not have.

    Other groups are searched too: a field that is right may stand in a wrong place.
    """
    table = groups()
    close = difflib.get_close_matches(name, table[group], n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    for other, fields in table.items():
        close = difflib.get_close_matches(name, fields, n=1, cutoff=0.85)
        if close:
            return f"did you mean {close[0]!r}, which belongs into a message {other!r}?"
    return f"known here: {', '.join(sorted(table[group])[:8])}"


_MODEL = "task.model"
_PARSER = "task.train_data.parser"


class Extractor(NamedTuple):
    """Feature extractors by name, the preset they become, and what it takes beyond the preset."""

    pattern: str
    preset: str
    changes: dict[str, Any]
    remark: str


_HEADS = "its maps form an FPN, with one head and focal loss instead of hard negatives"
_MOBILENET = f"{_MODEL}.backbone.mobilenet.model_id"
_RESNET = f"{_MODEL}.backbone.resnet.model_id"
# The first that matches counts.
EXTRACTORS = (
    Extractor(r"ssd_mobilenet_v2_fpn(_sep_conv)?(_keras)?", "ssd_mobilenet_v2_fpn", {}, ""),
    Extractor(
        r"ssd_mobilenet_v1_fpn(_keras)?",
        "ssd_mobilenet_v2_fpn",
        {_MOBILENET: "MobileNetV1"},
        "",
    ),
    Extractor(
        r"(embedded_)?ssd_mobilenet_v1.*",
        "ssd_mobilenet_v2_fpn",
        {_MOBILENET: "MobileNetV1"},
        _HEADS,
    ),
    Extractor(r"ssd_mobilenet_v2.*", "ssd_mobilenet_v2_fpn", {}, _HEADS),
    Extractor(
        r"ssd_mobilenet_v3_small.*",
        "ssd_mobilenet_v2_fpn",
        {_MOBILENET: "MobileNetV3Small"},
        _HEADS,
    ),
    Extractor(
        r"ssd_mobilenet_(v3_large|edgetpu).*",
        "ssd_mobilenet_v2_fpn",
        {_MOBILENET: "MobileNetV3Large"},
        _HEADS,
    ),
    Extractor(
        r"ssd_mobiledet.*",
        "ssd_mobilenet_v2_fpn",
        {},
        f"MobileNetV2 stands in for MobileDet, and {_HEADS}",
    ),
    Extractor(r"ssd_resnet50_v1_fpn.*", "ssd_resnet50_fpn_640", {}, ""),
    Extractor(r"ssd_resnet101_v1_fpn.*", "ssd_resnet50_fpn_640", {_RESNET: 101}, ""),
    Extractor(r"ssd_resnet152_v1_fpn.*", "ssd_resnet50_fpn_640", {_RESNET: 152}, ""),
    Extractor(r"ssd_resnet50.*", "ssd_resnet50_fpn_640", {}, _HEADS),
    Extractor(r"ssd_resnet101.*", "ssd_resnet50_fpn_640", {_RESNET: 101}, _HEADS),
    Extractor(r"ssd_resnet152.*", "ssd_resnet50_fpn_640", {_RESNET: 152}, _HEADS),
    Extractor(
        r"(embedded_)?ssd_inception.*",
        "ssd_mobilenet_v2_fpn",
        {},
        f"it has no Inception: MobileNetV2 is the nearest in size, and {_HEADS}",
    ),
    Extractor(
        r"ssd_pnasnet.*", "ssd_resnet50_fpn_640", {}, "it has no PNASNet: ResNet-50 stands in"
    ),
    Extractor(r"faster_rcnn_resnet50_fpn.*", "faster_rcnn_resnet50_640", {}, ""),
    Extractor(r"faster_rcnn_resnet101_fpn.*", "faster_rcnn_resnet101_640", {}, ""),
    Extractor(
        r"faster_rcnn_resnet50.*",
        "faster_rcnn_resnet50_640",
        {},
        "proposals come from an FPN, not from one map",
    ),
    Extractor(
        r"faster_rcnn_resnet101.*",
        "faster_rcnn_resnet101_640",
        {},
        "proposals come from an FPN, not from one map",
    ),
    Extractor(
        r"faster_rcnn_resnet152.*",
        "faster_rcnn_resnet101_640",
        {f"{_MODEL}.backbone.resnet_v1.model_id": 152},
        "proposals come from an FPN, not from one map",
    ),
    Extractor(
        r"faster_rcnn_mobilenet.*",
        "faster_rcnn_resnet50_640",
        {
            f"{_MODEL}.backbone.type": "mobilenet",
            _MOBILENET: "MobileNetV1",
            f"{_MODEL}.min_level": 3,
        },
        "proposals come from an FPN, not from one map",
    ),
    Extractor(
        r"faster_rcnn_inception_resnet.*|faster_rcnn_(p?nas).*",
        "faster_rcnn_resnet101_640",
        {},
        "it has no such network: ResNet-101 with an FPN is the largest here",
    ),
    Extractor(
        r"faster_rcnn_inception.*",
        "faster_rcnn_resnet50_640",
        {},
        "it has no Inception: ResNet-50 with an FPN is the nearest",
    ),
)

# Where the file names no extractor.
FALLBACK = {"ssd": "ssd_mobilenet_v2_fpn", "faster_rcnn": "faster_rcnn_resnet50_640"}

# Fields that keep their value: {path below the model: keys}.
SAME_SSD = {
    "matcher.argmax_matcher.matched_threshold": [f"{_PARSER}.match_threshold"],
    "matcher.argmax_matcher.unmatched_threshold": [f"{_PARSER}.unmatched_threshold"],
    "feature_extractor.use_depthwise": [f"{_MODEL}.decoder.fpn.use_separable_conv"],
    "feature_extractor.fpn.additional_layer_depth": [f"{_MODEL}.decoder.fpn.num_filters"],
    "anchor_generator.multiscale_anchor_generator.anchor_scale": [f"{_MODEL}.anchor.anchor_size"],
    "anchor_generator.multiscale_anchor_generator.aspect_ratios": [
        f"{_MODEL}.anchor.aspect_ratios"
    ],
    "anchor_generator.multiscale_anchor_generator.scales_per_octave": [
        f"{_MODEL}.anchor.num_scales"
    ],
    "box_predictor.weight_shared_convolutional_box_predictor.depth": [f"{_MODEL}.head.num_filters"],
    "box_predictor.weight_shared_convolutional_box_predictor.num_layers_before_predictor": [
        f"{_MODEL}.head.num_convs"
    ],
    "box_predictor.weight_shared_convolutional_box_predictor.use_depthwise": [
        f"{_MODEL}.head.use_separable_conv"
    ],
    "box_predictor.convolutional_box_predictor.use_depthwise": [
        f"{_MODEL}.head.use_separable_conv"
    ],
    "post_processing.batch_non_max_suppression.use_class_agnostic_nms": [
        f"{_MODEL}.detection_generator.use_class_agnostic_nms"
    ],
}
_ROI = f"{_MODEL}.roi_generator"
SAME_FASTER_RCNN = {
    "feature_extractor.fpn.additional_layer_depth": [f"{_MODEL}.decoder.fpn.num_filters"],
    "first_stage_anchor_generator.multiscale_anchor_generator.anchor_scale": [
        f"{_MODEL}.anchor.anchor_size"
    ],
    "first_stage_anchor_generator.multiscale_anchor_generator.aspect_ratios": [
        f"{_MODEL}.anchor.aspect_ratios"
    ],
    "first_stage_anchor_generator.multiscale_anchor_generator.scales_per_octave": [
        f"{_MODEL}.anchor.num_scales"
    ],
    "first_stage_anchor_generator.grid_anchor_generator.aspect_ratios": [
        f"{_MODEL}.anchor.aspect_ratios"
    ],
    "first_stage_box_predictor_depth": [f"{_MODEL}.rpn_head.num_filters"],
    "first_stage_minibatch_size": [f"{_PARSER}.rpn_batch_size_per_im"],
    "first_stage_positive_balance_fraction": [f"{_PARSER}.rpn_fg_fraction"],
    "first_stage_nms_score_threshold": [
        f"{_ROI}.pre_nms_score_threshold",
        f"{_ROI}.test_pre_nms_score_threshold",
    ],
    "first_stage_nms_iou_threshold": [
        f"{_ROI}.nms_iou_threshold",
        f"{_ROI}.test_nms_iou_threshold",
    ],
    "first_stage_max_proposals": [f"{_ROI}.num_proposals", f"{_ROI}.test_num_proposals"],
    "first_stage_localization_loss_weight": ["task.losses.rpn_box_weight"],
    "first_stage_objectness_loss_weight": ["task.losses.rpn_score_weight"],
    "second_stage_batch_size": [f"{_MODEL}.roi_sampler.num_sampled_rois"],
    "second_stage_balance_fraction": [f"{_MODEL}.roi_sampler.foreground_fraction"],
    "second_stage_box_predictor.mask_rcnn_box_predictor.share_box_across_classes": [
        f"{_MODEL}.detection_head.class_agnostic_bbox_pred"
    ],
    "second_stage_localization_loss_weight": ["task.losses.frcnn_box_weight"],
    "second_stage_classification_loss_weight": ["task.losses.frcnn_class_weight"],
}
# What the old API took where a file is silent, unlike Model Garden: {path below the model: value}.
DEFAULTS = {
    f"{generator}.multiscale_anchor_generator.{name}": value
    for generator in ("anchor_generator", "first_stage_anchor_generator")
    for name, value in (
        ("anchor_scale", 4.0),
        ("scales_per_octave", 2),
        ("aspect_ratios", [1.0, 2.0, 0.5]),
    )
} | {"first_stage_max_proposals": 300}
SAME_NMS = {
    "score_threshold": [f"{_MODEL}.detection_generator.pre_nms_score_threshold"],
    "iou_threshold": [f"{_MODEL}.detection_generator.nms_iou_threshold"],
    "max_total_detections": [f"{_MODEL}.detection_generator.max_num_detections"],
    "use_cpu_nms": [f"{_MODEL}.detection_generator.use_cpu_nms"],
}
SAME_READER = {
    "shuffle_buffer_size": "shuffle_buffer_size",
    "num_readers": "cycle_length",
    "read_block_length": "block_length",
    "max_number_of_boxes": "parser.max_num_instances",
    "drop_remainder": "drop_remainder",
}

# What Model Garden does in any case, by the end of the path.
ALWAYS = {
    "similarity_calculator.iou_similarity": {},
    "force_match_for_each_row": True,
    "ignore_thresholds": False,
    "normalize_loss_by_num_matches": True,
    "number_of_stages": 2,
    "first_stage_atrous_rate": 1,
    "kernel_size": 3,
    "first_stage_box_predictor_kernel_size": 3,
    "box_code_size": 4,
    "use_dropout": False,
    "freeze_batchnorm": False,
    "batch_norm_trainable": True,
    "batch_norm.train": True,
    "batch_norm.center": True,
    "batch_norm.scale": True,
    "resize_method": "BILINEAR",
    "convert_to_grayscale": False,
    "predict_instance_masks": False,
    "predict_keypoints": False,
    "share_prediction_tower": False,
    "override_base_feature_extractor_hyperparams": True,
    "negative_class_weight": 1,
    "negatives_lower_than_unmatched": True,
    "class_prediction_bias_init": -4.6,
    "logit_scale": 1,
    "max_classes_per_detection": 1,
    "use_combined_nms": False,
    "use_partitioned_nms": False,
    "use_multiclass_scores": False,
    "weight_regression_loss_by_score": False,
    "combined_nms": False,
    "weighted_softmax": {},
    "bias_grad_multiplier": 0,
    "merge_multiple_label_boxes": False,
    "max_evals": 0,
    "ignore_groundtruth": False,
    "num_epochs": 0,
    "sample_1_of_n_examples": 1,
    "num_additional_channels": 0,
    "load_instance_masks": False,
    "random_horizontal_flip.probability": 0.5,
}

ACTIVATIONS = {"RELU": "relu", "RELU_6": "relu6", "SWISH": "swish"}
