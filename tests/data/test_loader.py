from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from pictures import fill

from tlkit.data.folder import ImageFolder
from tlkit.data.images import read_image
from tlkit.data.loader import Datasets, ImageBatches, make_datasets, original_data_error
from tlkit.data.split import split_samples
from tlkit.data.transforms import resize
from tlkit.errors import DataError
from tlkit.recipe import DataConfig, Recipe

ROW = SimpleNamespace(input_size=24, preprocess=SimpleNamespace(crop=0.75))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("pictures"), {"cat": 13, "dog": 12})


@pytest.fixture(scope="module")
def samples(root: Path) -> pd.DataFrame:
    return ImageFolder(root).samples


def batches(samples: pd.DataFrame, root: Path, **options) -> ImageBatches:
    return ImageBatches(samples, root, ["cat", "dog"], 16, **{"batch_size": 8, **options})


def epoch_of(data: ImageBatches) -> tuple[np.ndarray, np.ndarray]:
    """One epoch as Keras' own enqueuer delivers it, with its threads."""
    adapter = keras.src.trainers.data_adapters.get_data_adapter(data)
    adapter.on_epoch_begin()
    seen = [tuple(map(np.asarray, batch)) for batch in adapter._get_iterator()]
    adapter.on_epoch_end()
    images, labels = zip(*seen, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_batches(samples: pd.DataFrame, root: Path) -> None:
    data = batches(samples, root)
    assert len(data) == 4
    assert data.paths == samples["path"].tolist()
    assert data.labels.tolist() == [0] * 13 + [1] * 12
    images, labels = data[1]
    assert images.shape == (8, 16, 16, 3)
    assert images.dtype == labels.dtype == np.float32
    assert images.max() > 200
    np.testing.assert_array_equal(images[0], resize(read_image(root / data.paths[8]), 16))
    np.testing.assert_array_equal(labels.argmax(axis=1), data.labels[8:16])
    assert labels.sum() == 8
    assert data[3][0].shape == (1, 16, 16, 3)


@pytest.mark.parametrize(("devices", "sizes"), [(2, [4, 4, 2]), (4, [4, 4, 4]), (16, [16])])
def test_every_device_gets_a_part_of_the_same_size(
    samples: pd.DataFrame, root: Path, devices: int, sizes: list[int]
) -> None:
    data = batches(samples.iloc[:9], root, batch_size=5, devices=devices, shuffle=True)
    drawn = [data.rows_of_batch(np.arange(9), index) for index in range(len(data))]
    assert [len(rows) for rows in drawn] == sizes
    assert np.concatenate(drawn).tolist() == [*range(9), *range(9), *range(9)][: sum(sizes)]
    assert [len(data[index][0]) for index in range(len(data))] == sizes


def test_iter_images_is_the_same_in_order(samples: pd.DataFrame, root: Path) -> None:
    data = batches(samples, root, shuffle=True, augment="light")
    plain = list(data.iter_images())
    assert [start for start, _ in plain] == [0, 8, 16, 24]
    pictures = np.concatenate([batch for _, batch in plain])
    ordered = batches(samples, root, augment="light")
    np.testing.assert_array_equal(pictures, np.concatenate([ordered[i][0] for i in range(4)]))
    ordered.epoch = 5
    np.testing.assert_array_equal(next(data.iter_images(view=5))[1], ordered[0][0].astype(np.uint8))


@pytest.mark.parametrize("augment", ["none", "light", "standard"])
def test_epochs_do_not_depend_on_workers(augment: str, samples: pd.DataFrame, root: Path) -> None:
    runs = []
    for workers in (1, 2, 4):
        data = batches(samples, root, shuffle=True, augment=augment, seed=3, workers=workers)
        runs.append([epoch_of(data) for _ in range(2)])
        assert data.epoch == 2
    for run in runs[1:]:
        for (images, labels), (first_images, first_labels) in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(images, first_images)
            np.testing.assert_array_equal(labels, first_labels)
    (one, _), (two, _) = runs[0]
    assert not np.array_equal(one, two)


def test_each_epoch_is_a_permutation_that_the_seed_decides(
    samples: pd.DataFrame, root: Path
) -> None:
    data = batches(samples, root, shuffle=True, seed=3)
    orders = []
    for _ in range(3):
        images, labels = epoch_of(data)
        orders.append(images)
        assert labels.sum(axis=0).tolist() == [13, 12]
        assert len({image.tobytes() for image in images}) == 25
    assert not np.array_equal(orders[0], orders[1])
    resumed = batches(samples, root, shuffle=True, seed=3)
    resumed.epoch = 2
    np.testing.assert_array_equal(epoch_of(resumed)[0], orders[2])
    other = batches(samples, root, shuffle=True, seed=4)
    assert not np.array_equal(epoch_of(other)[0], orders[0])


def test_a_view_does_not_depend_on_the_other_images(samples: pd.DataFrame, root: Path) -> None:
    """So that a cache of views survives one new image."""
    (_, whole), *_ = batches(samples, root, augment="standard").iter_images()
    (_, part), *_ = batches(samples.iloc[5:8], root, augment="standard").iter_images()
    np.testing.assert_array_equal(part, whole[5:8])


def test_an_unknown_label_is_an_error(samples: pd.DataFrame, root: Path) -> None:
    with pytest.raises(DataError, match="Unknown class 'dog'; known are cat, fox"):
        ImageBatches(samples, root, ["cat", "fox"], 16)


def test_an_image_that_disappears_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 9, "dog": 9})
    samples = ImageFolder(tmp_path).samples
    (tmp_path / "dog" / "004.jpg").unlink()
    data = batches(samples, tmp_path, workers=2)
    with pytest.raises(DataError, match=r"dog.004\.jpg: no such file"):
        list(data.iter_images())
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(DataError, match=r"dog.004\.jpg: no such file"), original_data_error(data):
        model.predict(data, verbose=0)
    with pytest.raises(ZeroDivisionError), original_data_error(None, object()):
        _ = 1 // 0


def test_make_datasets(root: Path) -> None:
    folder = ImageFolder(root)
    data = DataConfig(root=root, val_split=0.2, test_split=0.1, augment="light", resize="pad")
    recipe = Recipe(data=data, seed=7, workers=2)
    recipe.train.batch_size = 5
    split = split_samples(folder, recipe.data, recipe.seed)
    datasets = make_datasets(split, recipe, ROW)
    assert datasets.val is not None
    assert datasets.test is not None
    sizes = {
        name: len(getattr(datasets, name).paths) for name in ("train", "train_eval", "val", "test")
    }
    assert sizes == {"train": 17, "train_eval": 17, "val": 5, "test": 3}
    assert (datasets.train.augment, datasets.train.shuffle, datasets.train.seed) == (
        "light",
        True,
        7,
    )
    for part in datasets.parts():
        assert (part.augment, part.shuffle, part.size, part.batch_size) == ("none", False, 24, 5)
        assert part.samples["split"].nunique() == 1
        (_, images), *_ = part.iter_images()
        np.testing.assert_array_equal(
            images[0], resize(read_image(root / part.paths[0]), 24, "pad")
        )
    indices = np.concatenate([part.samples.index for part in datasets.parts()])
    assert sorted(indices) == list(range(25))


def test_training_and_evaluation_never_share_a_transform(root: Path) -> None:
    """The lesson's deep-copy trap: augmenting training must not augment validation."""
    for augment in ("none", "light", "standard", "strong"):
        recipe = Recipe(data=DataConfig(root=root, val_split=0.2, augment=augment))
        split = split_samples(ImageFolder(root), recipe.data, recipe.seed)
        datasets = make_datasets(split, recipe, ROW)
        transforms = [part.transform for part in (datasets.train, *datasets.parts())]
        assert len({id(transform) for transform in transforms}) == len(transforms)
        before = epoch_of(datasets.val)[0]
        epoch_of(datasets.train)
        np.testing.assert_array_equal(epoch_of(datasets.val)[0], before)


def test_sets_that_are_not_there_are_none(root: Path) -> None:
    recipe = Recipe(data=DataConfig(root=root, val_split=0))
    split = split_samples(ImageFolder(root), recipe.data, recipe.seed)
    datasets = make_datasets(split, recipe, ROW)
    assert isinstance(datasets, Datasets)
    assert datasets.val is datasets.test is None
    assert datasets.parts() == (datasets.train_eval,)


def test_classes_size_and_resize_are_those_asked_for(root: Path, samples: pd.DataFrame) -> None:
    classes = ("bird", "cat", "dog")
    data = ImageBatches(samples, root, classes, 24, "stretch", ROW.preprocess.crop)
    images, labels = data[0]
    np.testing.assert_array_equal(
        images[0], resize(read_image(root / data.paths[0]), 24, "stretch")
    )
    assert labels.shape == (25, 3)


def test_a_manifest_is_relative_to_its_folder(root: Path, tmp_path: Path) -> None:
    (root / "list.csv").write_text(
        "path,label\ncat/000.jpg,a\ncat/001.jpg,a\ndog/000.jpg,b\ndog/001.jpg,b\n"
    )
    recipe = Recipe(data=DataConfig(root=root / "list.csv", val_split=0.5))
    split = split_samples(ImageFolder(root / "list.csv"), recipe.data, recipe.seed)
    assert make_datasets(split, recipe, ROW).train[0][0].shape == (2, 24, 24, 3)


def test_fit_learns_and_repeats(samples: pd.DataFrame, root: Path) -> None:
    histories = []
    for workers in (1, 3):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
        )
        model.compile("sgd", "categorical_crossentropy")
        data = batches(samples, root, shuffle=True, augment="light", workers=workers)
        histories.append(model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"])
    assert histories[0] == histories[1]
