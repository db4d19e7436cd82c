"""Published weights: what there is for which backbone, and where it comes from."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.common.downloads import download, mirror_address, mirror_folder
from helpers.common.errors import CourseError
from helpers.common.files import ROOT

DOWNLOADS = ROOT / "data/downloads/weights"


@dataclass(frozen=True)
class Source:
    """Published weights.

    Attributes:
        backbone: type and model_id of the backbone in the config that they fit.
        address: of the file. A mirror holds it as weights/<file name>.
        md5: as its publisher states it; "" where none is stated.
        megabytes: size of the file.
        network: name in `tf_keras.applications`; "" for a checkpoint of Model Garden.
        pixels: how that network reads an image, "tf" or "caffe", as Keras calls it.
        top: whether its classifier is in the file.
    """

    backbone: tuple[str, str | int | None]
    address: str
    md5: str
    megabytes: int
    network: str = ""
    pixels: str = "tf"
    top: bool = False

    @property
    def file(self) -> str:
        return self.address.rsplit("/", 1)[-1]


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_GARDEN = "https://storage.googleapis.com/tf_model_garden/vision"

# Trained to name 1000 kinds of things in photographs: backbones only. Code and weights of Keras
# Applications are Apache-2.0 or MIT; ImageNet itself is for research that is not commercial.
IMAGENET = (
    Source(
        backbone=("mobilenet", "MobileNetV2"),
        address=f"{_KERAS}/mobilenet_v2/"
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        md5="",
        megabytes=9,
        network="MobileNetV2",
    ),
    Source(
        backbone=("resnet_v1", 50),
        address=f"{_KERAS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="4d473c1dd8becc155b73f8504c6f6626",
        megabytes=95,
        network="ResNet50",
        pixels="caffe",
    ),
    Source(
        backbone=("resnet_v1", 101),
        address=f"{_KERAS}/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="88cf7a10940856eca736dc7b7e228a21",
        megabytes=172,
        network="ResNet101",
        pixels="caffe",
    ),
    # With its classifier, which becomes the layers conv6 and conv7 of an SSD.
    Source(
        backbone=("vgg16", None),
        address=f"{_KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        md5="64373286793e3c8b2b4e3219cbf3544b",
        megabytes=553,
        network="VGG16",
        pixels="caffe",
        top=True,
    ),
)
# Trained to find 80 kinds of things: backbone and feature pyramid can be reused.
COCO = (
    Source(("resnet", 50), f"{_GARDEN}/retinanet/retinanet-resnet50fpn.tar.gz", "", 130),
    Source(("spinenet_mobile", "49"), f"{_GARDEN}/retinanet/spinenet49mobile.tar.gz", "", 20),
)


def find_source(table: Sequence[Source], config, name: str) -> Source:
    """Return the row of `table` (IMAGENET or COCO) that fits the backbone of `config`.

    Raises:
        CourseError: none fits; `name` is what the message calls the table.
    """
    backbone = config.task.model.backbone
    wanted = (backbone.type, getattr(backbone.get(), "model_id", None))
    for source in table:
        if source.backbone == wanted:
            return source
    fitting = ", ".join(f"{kind} {which}" for kind, which in (s.backbone for s in table))
    raise CourseError(
        f"weights: {name}: none for a backbone {wanted[0]} {wanted[1]}; there are for {fitting}"
    )


def fetch_weights(source: Source) -> Path:
    """Return the file of published weights: from the mirror, or downloaded once.

    Raises:
        CourseError: it cannot be had, or is not the file that was published.
    """
    mirror, path = mirror_address(), DOWNLOADS / source.file
    on_web = "://" in mirror
    shared = [mirror_folder(mirror) / "weights" / source.file] if mirror and not on_web else []
    for there in (*shared, path):
        if there.is_file():
            _check_md5(there, source.md5)
            return there
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    headers = None
    if on_web:
        place = f"{mirror}/weights/{source.file}"
        headers = download(place, part, source.file, mirrored="weights/", missing_ok=True)
    if headers is None:
        headers = download(source.address, part, source.file, mirrored="weights/")
    try:
        _check_md5(part, source.md5 or _stated_md5(headers or {}), origin=source.address)
    except CourseError:
        part.unlink()
        raise
    part.replace(path)
    return path


def _check_md5(path: Path, md5: str, origin: str = "") -> None:
    if not md5:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise CourseError(
            f"{origin or path}: not the file that was published (its MD5 differs); delete it and "
            "try again"
        )


def _stated_md5(headers: Mapping[str, str]) -> str:
    """The MD5 that Google's storage states with each answer, "" where none is stated."""
    for item in headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind == "md5":
            return base64.b64decode(value).hex()
    return ""
