import hashlib
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from pipeline.core.dataset_facts import DatasetError
from pipeline.raw.cifar import read_cifar
from pipeline.raw.torchvision_compat import torchvision

NAMES = [f"class-{label}" for label in range(100)]


def fake_files():
    """A CIFAR-100 in miniature: 6 training images, 2 test images, 100 class names."""
    generator = np.random.default_rng(0)
    for name, count in (("train", 6), ("test", 2)):
        data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        yield name, {"data": data, "fine_labels": list(range(count))}
    yield "meta", {"fine_label_names": NAMES}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with the miniature, whose md5 sums torchvision is told to expect."""
    folder = tmp_path / "root" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in fake_files():
        (folder / name).write_bytes(pickle.dumps(content))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    cls = torchvision.datasets.CIFAR100
    monkeypatch.setattr(cls, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(cls, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": sums["meta"]})
    return tmp_path / "root"


def test_images_labels_and_names_are_read(root):
    class_names, train, test = read_cifar("cifar100", root, download=False)
    assert class_names == tuple(NAMES)
    raw = dict(fake_files())["train"]["data"]
    for image, row in zip(train.images, raw, strict=True):
        for channel in range(3):
            plane = row[channel * 1024 : (channel + 1) * 1024].reshape(32, 32)
            np.testing.assert_array_equal(image[..., channel], plane)
    assert train.images.flags.c_contiguous
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "title", "folder"),
    [("cifar10", "CIFAR-10", "cifar-10-batches-py"), ("cifar100", "CIFAR-100", "cifar-100-python")],
)
def test_absent_data_says_where_it_looked_and_how_to_mend(tmp_path, name, title, folder):
    message = rf"^{title} was not found: .*{folder}.*machine.data_root.*DECANT_DATA.*download: true"
    with pytest.raises(DatasetError, match=message):
        read_cifar(name, tmp_path, download=False)


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_missing_file_is_named(root, name):
    (root / "cifar-100-python" / name).unlink()
    with pytest.raises(DatasetError, match=rf"incomplete or damaged: {name} is missing\. Delete"):
        read_cifar("cifar100", root, download=False)


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_damaged_file_is_named(root, name):
    path = root / "cifar-100-python" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name} is damaged \(its md5 is not"):
        read_cifar("cifar100", root, download=False)


def test_failed_download_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", (tmp_path / "no.tar.gz").as_uri())
    with pytest.raises(DatasetError, match=r"could not be fetched from .*unpack it into"):
        read_cifar("cifar100", tmp_path / "root", download=True)


# Python 3.12 and 3.13 warn about the way torchvision unpacks an archive (after checking its md5).
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_download_fetches_what_is_missing(root, tmp_path, monkeypatch):
    archive = tmp_path / "archive" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "cifar-100-python", "cifar-100-python")
    cls = torchvision.datasets.CIFAR100
    monkeypatch.setattr(cls, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(cls, "url", archive.as_uri())
    utils = torchvision.datasets.utils
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, path: shutil.copy(archive, path))
    _, train, _ = read_cifar("cifar100", tmp_path / "new", download=True)
    _, expected, _ = read_cifar("cifar100", root, download=True)
    np.testing.assert_array_equal(train.images, expected.images)
