import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlkit import freezing
from tlkit.backbones import get_backbone
from tlkit.classifier import Classifier, build_classifier
from tlkit.data.folder import ImageFolder
from tlkit.data.loader import Datasets, ImageBatches, make_datasets
from tlkit.data.split import split_samples
from tlkit.engines import Engines
from tlkit.feature_cache import FeatureCache
from tlkit.features import FeatureBatches, FrozenFeatures
from tlkit.recipe import load_recipe

BACKBONE = "efficientnet_lite0"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build_classifier(BACKBONE, ["blue", "red"], img_size=64)


@pytest.fixture(autouse=True)
def _frozen(classifier: Classifier) -> None:
    freezing.freeze(classifier.model, classifier.row)


def datasets_of(root: Path, **settings: Any) -> Datasets:
    settings = {"img_size": 64, "batch_size": 8, **settings}
    recipe = load_recipe(data=root, backbone=BACKBONE, **settings)
    split = split_samples(ImageFolder(root), recipe.data, recipe.seed)
    row = get_backbone(BACKBONE)
    return make_datasets(split, recipe, row)


@pytest.fixture(scope="module")
def datasets(pictures: Path) -> Datasets:
    return datasets_of(pictures)


@pytest.fixture(scope="module")
def augmented(pictures: Path) -> Datasets:
    return datasets_of(pictures, augment="light")


def pixels(images: ImageBatches, view: int = 0) -> NDArray[np.float32]:
    return np.concatenate([batch for _, batch in images.iter_images(view)]).astype(np.float32)


def kept(batches: Any, view: int = 0) -> NDArray[np.float32]:
    assert isinstance(batches, FeatureBatches)
    return batches.views[view][np.arange(len(batches.samples))]


def relative(answer: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(np.abs(answer - truth).max() / np.abs(truth).max())


def test_features_are_what_the_front_gives(
    classifier: Classifier, datasets: Datasets, tmp_path: Path
) -> None:
    cut = FrozenFeatures(classifier, datasets, FeatureCache(tmp_path)).cut()
    assert cut.model is not classifier.model
    front = classifier.prefix("head_pool")
    assert datasets.val is not None
    truth = front.predict(pixels(datasets.val), verbose=0)
    assert relative(kept(cut.val), truth) < 1e-5
    truth = front.predict(pixels(datasets.train), verbose=0)
    assert relative(kept(cut.train), truth) < 2e-2


@pytest.mark.parametrize("unfreeze", [None, "last"])
def test_probabilities_agree_with_the_whole_model(
    classifier: Classifier, datasets: Datasets, tmp_path: Path, unfreeze: str | None
) -> None:
    if unfreeze:
        freezing.unfreeze(classifier.model, classifier.row, unfreeze)
    features = FrozenFeatures(classifier, datasets, FeatureCache(tmp_path))
    for images, tolerance in ((datasets.val, 1e-4), (datasets.train_eval, 2e-2)):
        assert images is not None
        model, batches = features.for_prediction(images)
        truth = classifier.model.predict(pixels(images), verbose=0)
        np.testing.assert_allclose(model.predict(batches, verbose=0), truth, atol=tolerance)


def test_boundary_moves_with_freezing(
    classifier: Classifier, datasets: Datasets, tmp_path: Path
) -> None:
    features = FrozenFeatures(classifier, datasets, FeatureCache(tmp_path))
    assert len(features.cut().model.input.shape) == 2
    freezing.unfreeze(classifier.model, classifier.row, "last")
    assert len(features.cut().model.input.shape) == 4
    freezing.unfreeze(classifier.model, classifier.row, "all")
    assert features.cut().model is classifier.model


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that any engine was given."""
    sizes: list[int] = []
    fastest = Engines.fastest

    def counting(self: Engines, exact: bool) -> Any:
        engine = fastest(self, exact)

        def run(batch: NDArray[Any]) -> NDArray[np.float32]:
            sizes.append(len(batch))
            return engine(batch)

        return run

    monkeypatch.setattr(Engines, "fastest", counting)
    return sizes


def test_a_second_run_computes_only_what_is_new(
    classifier: Classifier, pictures: Path, tmp_path: Path, computed: list[int]
) -> None:
    root = shutil.copytree(pictures, tmp_path / "pictures")
    before = datasets_of(root)
    first = FrozenFeatures(classifier, before, FeatureCache(tmp_path)).cut()
    assert sum(computed) == 24
    computed.clear()
    again = FrozenFeatures(classifier, datasets_of(root), FeatureCache(tmp_path)).cut()
    assert computed == []
    np.testing.assert_array_equal(kept(first.train), kept(again.train))
    (root / "blue" / "00.jpg").rename(root / "blue" / "renamed.jpg")
    shutil.copy(root / "red" / "00.jpg", root / "red" / "copy.jpg")
    with (root / "blue" / "03.jpg").open("ab") as file:
        file.write(b"\0")  # another image to whoever looks at bytes
    after = datasets_of(root, val_split=0)
    FrozenFeatures(classifier, after, FeatureCache(tmp_path)).cut()
    # New bytes, and images that were only known from validation, which is computed differently.
    new = set(after.train.samples["sha256"]) - set(before.train.samples["sha256"])
    assert sum(computed) == len(new) <= 6


@pytest.mark.slow
def test_other_weights_transform_or_boundary_share_nothing(
    classifier: Classifier, datasets: Datasets, pictures: Path, tmp_path: Path, computed: list[int]
) -> None:
    FrozenFeatures(classifier, datasets, FeatureCache(tmp_path)).cut()
    kernel = classifier.model.get_layer("stem_conv").kernel
    before = kernel.numpy()
    try:
        computed.clear()
        kernel.assign(before * 1.01)
        FrozenFeatures(classifier, datasets, FeatureCache(tmp_path)).cut()
        assert sum(computed) == 24
    finally:
        kernel.assign(before)
    computed.clear()
    padded = datasets_of(pictures, resize="pad")
    FrozenFeatures(classifier, padded, FeatureCache(tmp_path)).cut()
    assert sum(computed) == 24
    computed.clear()
    freezing.unfreeze(classifier.model, classifier.row, "last")
    FrozenFeatures(classifier, datasets, FeatureCache(tmp_path)).cut()
    assert sum(computed) == 24


def test_views_take_turns(classifier: Classifier, augmented: Datasets, tmp_path: Path) -> None:
    features = FrozenFeatures(classifier, augmented, FeatureCache(tmp_path), views=2)
    train = features.cut().train
    front = classifier.prefix("head_pool")
    for view in (0, 1):
        truth = front.predict(pixels(augmented.train, view), verbose=0)
        assert relative(kept(train, view), truth) < 2e-2
    assert relative(kept(train, 0), kept(train, 1)) > 2e-2
    for epoch in range(3):
        batch, labels = train[0]
        rows = np.random.default_rng((augmented.train.seed, epoch)).permutation(19)[:8]
        np.testing.assert_array_equal(batch, kept(train, epoch % 2)[rows])
        np.testing.assert_array_equal(labels.argmax(1), augmented.train.labels[rows])
        train.on_epoch_end()


def test_evaluation_never_sees_a_view(
    classifier: Classifier, augmented: Datasets, tmp_path: Path
) -> None:
    features = FrozenFeatures(classifier, augmented, FeatureCache(tmp_path), views=2)
    _, batches = features.for_prediction(augmented.train_eval)
    truth = classifier.prefix("head_pool").predict(pixels(augmented.train_eval), verbose=0)
    assert relative(kept(batches), truth) < 2e-2


def test_without_augmentation_one_view_serves_training_and_evaluation(
    classifier: Classifier, datasets: Datasets, tmp_path: Path, computed: list[int]
) -> None:
    features = FrozenFeatures(classifier, datasets, FeatureCache(tmp_path), views=5)
    features.cut()
    features.for_prediction(datasets.train_eval)
    assert sum(computed) == 24


def test_ordinary_path_where_the_budget_is_too_small(
    classifier: Classifier, datasets: Datasets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tlkit")
    cut = FrozenFeatures(classifier, datasets, FeatureCache(tmp_path, limit=1000)).cut()
    assert cut.model is classifier.model
    assert cut.train is datasets.train
    assert "--cache-size" in caplog.text


def test_ordinary_path_where_little_is_frozen(
    classifier: Classifier, datasets: Datasets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tlkit")
    second = freezing.stages_of(classifier.model, classifier.row)[1]
    freezing.unfreeze(classifier.model, classifier.row, second)
    cut = FrozenFeatures(classifier, datasets, FeatureCache(tmp_path)).cut()
    assert cut.model is classifier.model
    assert "of the network's work" in caplog.text
