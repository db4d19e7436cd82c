"""Helpers of the course: one package per stage of the data, in the order in which it flows.

| package | lessons | what it holds |
| --- | --- | --- |
| common | all | errors, artifacts (whole or absent), files, images, downloads |
| annotations | 01, 03, 04 | boxes, the label map, Pascal VOC XML and the formats of other tools |
| footage | 01, 02 | datasets by name, web pictures, own files, video, frames; `roadside` renders |
| dataset | 03 | the audit, near-copies, the split, labelling |
| records | 04, 12 | TFRecord shards, written and verified; tiles; Apache Beam |
| models | 05 | presets, configs, checks, networks, pretrained weights; `pipeline` |
| inference | 00, 11 | the detector as one call, anchors, video |
| evaluation | 08 | matching, metrics, intervals, examples |
| training | 06, 07, 12 | the loop, what is tried around it, several workers, planted faults |
| plots | all | figures by stage, the slider |
| course | all | the start of a lesson, the runner, the report, publishing, checks of exercises |

A package imports only from those above it; footage, dataset, records and models never from one
another (tests/unit/test_house.py). `doctor` stands alone: it runs before anything is installed.
`scale`, `beam_records` and `pipeline_config` are commands under the names they were published by.
"""
