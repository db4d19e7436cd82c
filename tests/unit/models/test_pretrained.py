import base64
import dataclasses
import hashlib
import shutil
import tarfile
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from serving import Answers

from helpers import models
from helpers.common.errors import CourseError
from helpers.models import pretrained, published
from helpers.models.keras_weights import convert_weights
from helpers.models.networks import build_model
from helpers.models.presets import PRESETS

tf = pytest.importorskip("tensorflow")
SHARED = Path(__file__).resolve().parents[4] / "shared/weights"


class Host(Answers):
    """Serves `files`, each with the headers next to it."""

    def do_GET(self):
        state = self.server.state
        state.asked.append(self.path)
        body, headers = state.files.get(self.path, (b"gone", {}))
        self.answer(body, 200 if self.path in state.files else 404, headers)


@pytest.fixture
def host(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    address = f"http://127.0.0.1:{server.server_port}"
    server.state = SimpleNamespace(address=address, files={}, asked=[])
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("COURSE_MIRROR", "")
    monkeypatch.setattr(published, "DOWNLOADS", tmp_path / "downloads")
    yield server.state
    server.shutdown()


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    """MobileNetV2 of Keras Applications with random weights, as its file of ImageNet weights.

    The numbers a normalisation subtracts and divides by are random, too: nothing may get lost.
    """
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    model = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.set_weights([draw.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    path = tmp_path_factory.mktemp("keras") / published.IMAGENET[0].file
    model.save_weights(path)
    return path


@pytest.fixture
def mirror(keras_file, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "mirror"
    (folder / "weights").mkdir(parents=True)
    shutil.copy(keras_file, folder / "weights")
    monkeypatch.setenv("COURSE_MIRROR", str(folder))
    monkeypatch.setattr(published, "DOWNLOADS", tmp_path / "downloads")
    return folder


@pytest.fixture(scope="module")
def mobile(tiny_config):
    config = tiny_config()
    names = ("backbone.type", "backbone.mobilenet.model_id", "norm_activation.norm_epsilon")
    values = ("mobilenet", "MobileNetV2", 0.001)
    edits = {f"task.model.{name}": value for name, value in zip(names, values, strict=True)}
    return models.edit(config, edits)


def started(config):
    """A model of `config` after Model Garden has read what `task.init_checkpoint` names."""
    tf.random.set_seed(1)
    task, model = build_model(config)
    before = [w.numpy() for w in model.weights]
    task.initialize(model)
    changed = {
        w.name for w, old in zip(model.weights, before, strict=True) if not np.array_equal(w, old)
    }
    return model, changed


def features(backbone, image):
    from official.vision.ops import preprocess_ops

    return backbone(preprocess_ops.normalize_image(tf.constant(image))[None], training=False)


def keras_features(path, image):
    """What the blocks of the Keras network give that the levels of Model Garden's stand for."""
    import tf_keras

    model = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    model.load_weights(path)
    names = {"2": "block_2_add", "3": "block_5_add", "4": "block_12_add"}
    outputs = {level: model.get_layer(name).output for level, name in names.items()}
    return tf_keras.Model(model.input, outputs)((image[None] / 127.5 - 1).astype(np.float32))


def check_agreement(path, backbone):
    """In the middle of the image the padding is far: there all must be equal."""
    image = np.random.default_rng(0).integers(0, 255, (512, 512, 3)).astype(np.uint8)
    mine, theirs = features(backbone, image), keras_features(path, image)
    for level in ("2", "3", "4"):
        a, b = mine[level].numpy(), theirs[level].numpy()
        middle = slice(a.shape[1] // 2 - 1, a.shape[1] // 2 + 1)
        a, b = a[0, middle, middle], b[0, middle, middle]
        assert np.abs(a - b).max() <= 1e-4 * max(1, np.abs(b).max()), level
        assert np.abs(b).mean() > 0.01


def test_imagenet_weights_give_the_features_of_the_keras_network(mobile, mirror, tmp_path):
    large = models.edit(mobile, {"task.model.input_size": [512, 512, 3]})
    config = pretrained.use_pretrained(large, "imagenet", tmp_path / "start")
    assert config.task.init_checkpoint == str(tmp_path / "start" / "ckpt")
    assert config.task.init_checkpoint_modules == "backbone"
    model, changed = started(config)
    assert {w.name for w in model.backbone.weights} == changed
    check_agreement(mirror / "weights" / published.IMAGENET[0].file, model.backbone)


def test_the_published_imagenet_weights(mobile, monkeypatch, tmp_path):
    if not SHARED.is_dir():
        pytest.skip("no ../shared/weights: the published MobileNetV2 weights are not checked")
    monkeypatch.setenv("COURSE_MIRROR", str(SHARED.parent))
    large = models.edit(mobile, {"task.model.input_size": [512, 512, 3]})
    model, _ = started(pretrained.use_pretrained(large, "imagenet", tmp_path / "start"))
    check_agreement(SHARED / published.IMAGENET[0].file, model.backbone)


def randomized(model):
    """Random numbers for all that starts at 0 or 1: a bias or a mean that is lost must show."""
    draw = np.random.default_rng(1)
    for layer in model.layers:
        if "batch_normalization" in layer.name or layer.name.endswith("_bn"):
            layer.set_weights([draw.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        elif layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, draw.uniform(-0.1, 0.1, bias.shape)])
    return model


def caffe_pixels(image):
    """As `tf_keras.applications.resnet.preprocess_input`: BGR, less the mean."""
    return image[None, ..., ::-1].astype(np.float32) - [103.939, 116.779, 123.68]


def apart(mine, theirs) -> float:
    """The largest difference in the middle of two maps, as a part of the largest value."""
    a, b = np.asarray(mine), np.asarray(theirs)
    assert a.shape == b.shape
    rows, columns = (slice(side // 2 - 1, side // 2 + 2) for side in a.shape[1:3])
    a, b = a[0, rows, columns], b[0, rows, columns]
    assert np.abs(b).mean() > 0
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("depth", [50, 101])
def test_a_keras_resnet_becomes_one_of_model_garden(depth):
    import tf_keras

    # The sides of all maps are odd: then both pad alike. Where they are even, Model Garden's
    # maps are those of an image moved by a pixel.
    shape = (449, 449, 3)
    network = getattr(tf_keras.applications, f"ResNet{depth}")
    trained = randomized(network(include_top=False, weights=None, input_shape=shape))
    backbone = built("resnet_v1", depth, shape, epsilon=0.001)
    convert_weights(trained, backbone, "caffe")
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    last = {"2": 3, "3": 4, "4": {50: 6, 101: 23}[depth], "5": 3}
    names = [f"conv{level}_block{count}_out" for level, count in last.items()]
    theirs = tf_keras.Model(trained.input, [trained.get_layer(name).output for name in names])
    mine = features(backbone, image)
    for level, map_ in zip(last, theirs(caffe_pixels(image)), strict=True):
        # In the middle of the coarsest map of this image, 15 cells wide, the rim is in sight.
        assert apart(mine[level], map_) < (1e-4 if level != "5" else 0.05), level


def test_vgg_with_its_classifier_becomes_that_of_an_ssd():
    import tf_keras

    trained = randomized(tf_keras.applications.VGG16(weights=None))
    backbone = built("vgg16", None, (224, 224, 3))
    convert_weights(trained, backbone, "caffe")
    image = np.random.default_rng(0).integers(0, 255, (224, 224, 3)).astype(np.uint8)
    theirs = tf_keras.Model(trained.input, trained.get_layer("block4_conv3").output)
    assert apart(features(backbone, image)["3"], theirs(caffe_pixels(image))) < 1e-4
    # Cell (1, 1) of the smaller kernel is cell (3, 3) of the classifier's, every fourth filter.
    kernel, bias = backbone.get_layer("conv6").get_weights()
    large = trained.get_layer("fc1").get_weights()
    assert np.array_equal(kernel[1, 1], large[0].reshape(7, 7, 512, 4096)[3, 3, :, ::4])
    assert np.array_equal(bias, large[1][::4])
    kernel, _ = backbone.get_layer("conv7").get_weights()
    assert np.array_equal(kernel[0, 0], trained.get_layer("fc2").get_weights()[0][::4, ::4])


def built(kind: str, model_id, shape: tuple, epsilon: float = 0.001):
    """A backbone from Model Garden's factory."""
    import tf_keras
    from official.vision.configs import common
    from official.vision.modeling.backbones import factory

    from helpers.models.backbones import Backbone

    config = Backbone(type=kind)
    if model_id:
        config.get().model_id = model_id
    return factory.build_backbone(
        tf_keras.layers.InputSpec(shape=[None, *shape]),
        config,
        common.NormActivation(activation="relu", norm_epsilon=epsilon, use_sync_bn=False),
    )


@pytest.mark.parametrize("preset", [p for p in PRESETS.values() if p.weights], ids=lambda p: p.name)
def test_the_weights_that_a_preset_names_are_published_for_its_backbone(preset):
    table = {"imagenet": published.IMAGENET, "coco": published.COCO}[preset.weights]
    source = published.find_source(table, models.from_preset(preset.name), preset.weights)
    assert source.address.startswith("https://")


def test_from_scratch(mobile, mirror, tmp_path):
    config = pretrained.use_pretrained(mobile, "imagenet", tmp_path / "start")
    assert pretrained.use_pretrained(config, "scratch", tmp_path / "x").task.init_checkpoint is None
    assert not (tmp_path / "x").exists()


def test_kept_until_something_differs(mobile, mirror, tmp_path, capsys):
    def start(config):
        pretrained.use_pretrained(config, "imagenet", tmp_path / "start")
        return "kept" in capsys.readouterr().out

    assert [start(mobile), start(mobile)] == [False, True]
    assert not start(models.edit(mobile, {"task.model.norm_activation.norm_momentum": 0.5}))


def test_downloaded_once_from_the_public_address(mobile, keras_file, host, tmp_path, monkeypatch):
    body = keras_file.read_bytes()
    host.files[f"/{keras_file.name}"] = (body, {})
    source = dataclasses.replace(
        published.IMAGENET[0],
        address=f"{host.address}/{keras_file.name}",
        md5=hashlib.md5(body).hexdigest(),
    )
    monkeypatch.setattr(published, "IMAGENET", (source,))
    paths = [published.fetch_weights(source) for _ in range(2)]
    assert paths[0] == paths[1] == tmp_path / "downloads" / keras_file.name
    assert paths[0].read_bytes() == body
    assert host.asked == [f"/{keras_file.name}"]
    # A mirror on the web is asked first.
    host.files[f"/class/weights/{keras_file.name}"] = (body, {})
    monkeypatch.setenv("COURSE_MIRROR", f"{host.address}/class")
    paths[0].unlink()
    published.fetch_weights(source)
    assert host.asked[1:] == [f"/class/weights/{keras_file.name}"]


@pytest.mark.parametrize("stated", ["by us", "by the host"])
def test_a_changed_file_is_refused_and_forgotten(host, tmp_path, stated):
    right = hashlib.md5(b"right")
    header = {"x-goog-hash": "crc32c=AAAAAA==, md5=" + base64.b64encode(right.digest()).decode()}
    host.files["/w.h5"] = (b"wrong", header if stated == "by the host" else {})
    source = published.Source(
        ("resnet", 50), f"{host.address}/w.h5", right.hexdigest() if stated == "by us" else "", 1
    )
    with pytest.raises(CourseError, match=r"w\.h5: not the file that was published"):
        published.fetch_weights(source)
    assert list((tmp_path / "downloads").iterdir()) == []
    host.files["/w.h5"] = (b"right", header)
    assert published.fetch_weights(source).read_bytes() == b"right"


def test_a_cut_off_file_in_the_mirror(mobile, mirror, tmp_path):
    path = mirror / "weights" / published.IMAGENET[0].file
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CourseError, match=r"no_top\.h5: unreadable .* delete it"):
        pretrained.use_pretrained(mobile, "imagenet", tmp_path / "start")
    assert not (tmp_path / "start").exists()


def test_another_width_than_was_trained(mobile, mirror, tmp_path):
    narrow = models.edit(mobile, {"task.model.backbone.mobilenet.filter_size_scale": 0.5})
    with pytest.raises(CourseError, match=r"its layers are not those .* width"):
        pretrained.use_pretrained(narrow, "imagenet", tmp_path / "start")


def pack_checkpoint(model, folder: Path, change=lambda path: None) -> bytes:
    """A checkpoint of Model Garden as its site has them: a tar file with one folder."""
    prefix = folder / "inside" / "ckpt-33264"
    tf.train.Checkpoint(**model.checkpoint_items).write(str(prefix))
    change(prefix.with_name("ckpt-33264.data-00000-of-00001"))
    with tarfile.open(folder / "c.tar.gz", "w:gz") as tar:
        tar.add(folder / "inside", "retinanet")
    return (folder / "c.tar.gz").read_bytes()


@pytest.fixture
def coco(mobile, host, tmp_path, monkeypatch):
    """A published detector of 90 classes, with the backbone of `mobile`."""
    source = published.Source(
        ("mobilenet", "MobileNetV2"), f"{host.address}/retinanet.tar.gz", "", 1
    )
    monkeypatch.setattr(published, "COCO", (source,))
    _, model = build_model(models.edit(mobile, {"task.model.num_classes": 91}))
    return SimpleNamespace(
        model=model,
        serve=lambda change=lambda path: None: host.files.update(
            {"/retinanet.tar.gz": (pack_checkpoint(model, tmp_path, change), {})}
        ),
    )


def test_a_published_checkpoint_gives_all_but_the_heads(mobile, coco, tmp_path):
    coco.serve()
    config = pretrained.use_pretrained(mobile, "coco", tmp_path / "start")
    assert config.task.init_checkpoint_modules == ["backbone", "decoder"]
    model, changed = started(config)
    for mine, theirs in (
        (model.backbone, coco.model.backbone),
        (model.decoder, coco.model.decoder),
    ):
        for a, b in zip(mine.weights, theirs.weights, strict=True):
            assert np.array_equal(a, b), a.name
    assert not changed & {w.name for w in model.head.weights}


def test_a_damaged_checkpoint_is_found_before_training(mobile, coco, tmp_path):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    coco.serve(damage)
    with pytest.raises(CourseError, match=r"retinanet\.tar\.gz: broken .* delete it"):
        pretrained.use_pretrained(mobile, "coco", tmp_path / "start")
    assert not (tmp_path / "start").exists()


def test_a_detector_of_ones_own_with_its_heads(trained, tmp_path):
    config = pretrained.use_pretrained(trained.config, trained.folder, tmp_path / "start")
    assert config.task.init_checkpoint_modules == "all"
    model, _ = started(config)
    for a, b in zip(model.weights, trained.detector.model.weights, strict=True):
        assert np.array_equal(a, b), a.name


def test_of_a_detector_of_other_classes_the_heads_stay_fresh(trained, tmp_path):
    other = models.edit(trained.config, {"task.model.num_classes": 4})
    config = pretrained.use_pretrained(other, trained.folder, tmp_path / "start")
    assert config.task.init_checkpoint_modules == ["backbone", "decoder"]
    model, changed = started(config)
    assert not changed & {w.name for w in model.head.weights}
    assert np.array_equal(model.backbone.weights[0], trained.detector.model.backbone.weights[0])


def test_parts_are_chosen_and_others_left_out(trained, tmp_path):
    config = pretrained.use_pretrained(
        trained.config, trained.folder, tmp_path / "start", modules=["backbone"]
    )
    model, changed = started(config)
    assert changed <= {w.name for w in model.backbone.weights}
    assert changed
    with pytest.raises(CourseError, match="modules: heads; choose of all, backbone, decoder"):
        pretrained.use_pretrained(trained.config, trained.folder, tmp_path / "x", modules=["heads"])


def test_the_shipped_detector_fits_the_preset_that_it_was_trained_with(tmp_path):
    config = models.from_preset("ssd_cpu")
    config = models.edit(config, {"task.model.num_classes": 2})
    config = pretrained.use_pretrained(config, "shipped", tmp_path / "start")
    assert config.task.init_checkpoint_modules == "all"
    wide = models.edit(config, {"task.model.backbone.resnet.depth_multiplier": 0.5})
    with pytest.raises(CourseError, match="shipped: its backbone is not that of this config"):
        pretrained.use_pretrained(wide, "shipped", tmp_path / "x")


@pytest.mark.parametrize("name", ["imagnet", "no/such/folder", "nothing"])
def test_unknown_weights(mobile, name, tmp_path):
    with pytest.raises(CourseError, match=rf"'{name}': unknown; use scratch, shipped, imagenet"):
        pretrained.use_pretrained(mobile, name, tmp_path / "start")


def test_no_weights_for_this_backbone(tiny_config, tmp_path):
    with pytest.raises(CourseError, match="imagenet: none for a backbone resnet 10; there are for"):
        pretrained.use_pretrained(tiny_config(), "imagenet", tmp_path / "start")


def test_a_mirror_that_is_not_there(mobile, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(CourseError, match=r"COURSE_MIRROR: .* no such folder"):
        pretrained.use_pretrained(mobile, "imagenet", tmp_path / "start")
