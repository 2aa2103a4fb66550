"""What students get in training, and what `decant` gives for the same settings: the same bits."""

import pickle
import shutil
from collections import defaultdict

import pytest
import torch
from face_samples import STUDENTS, inside, project
from remote_servers import http_server
from torch.utils.data import DataLoader

import decant
from pipeline.store.format.errors import StoreError
from pipeline.views.batches import ViewBatches

NAMES = ("images", "targets", "teacher_logits", "teacher_features", "indices")
EPOCHS = 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project, and the batches of each student's replicates and epochs as the Trainer got them."""
    work = project(tmp_path_factory.mktemp("replay"))
    seen = {}
    with inside(work.folder), pytest.MonkeyPatch.context() as patch:
        for name in STUDENTS:
            recorded = defaultdict(list)
            get = ViewBatches.batch

            def batch(self, rows, get=get, recorded=recorded):
                made = get(self, rows)
                recorded[id(self)].append(({**vars(made), "indices": rows}, self))
                return made

            patch.setattr(ViewBatches, "batch", batch)
            work.run("train-student", name)
            patch.setattr(ViewBatches, "batch", get)
            seen[name] = [[made for made, _ in replicate] for replicate in recorded.values()]
    return work, seen


@pytest.fixture
def store(trained, monkeypatch):
    monkeypatch.chdir(trained[0].folder)
    return decant.open("resnet8")


def settings(name):
    entry = STUDENTS[name]
    return {
        "share": entry["share"],
        "views": entry.get("views"),
        "sampling": entry.get("view_sampling", "epoch"),
        "features": entry["method"] == "rkd",
        "seed": 5,
    }


def assert_same(ours, theirs):
    """Batches of ours are those of training, bit for bit."""
    assert len(ours) == len(theirs) == 3  # the lone image is left out
    for mine, wanted in zip(ours, theirs, strict=True):
        for name in NAMES:
            value, expected = getattr(mine, name), wanted[name]
            if expected is None:
                assert value.shape == (len(mine.indices), 0)
            else:
                assert value.dtype == expected.dtype
                assert torch.equal(value, expected), name


@pytest.mark.parametrize("name", STUDENTS)
def test_the_loader_gives_the_batches_of_training(store, trained, name):
    replicates = trained[1][name]
    assert len(replicates) == STUDENTS[name]["replicates"]
    for number, batches in enumerate(replicates):
        for epoch in range(EPOCHS):
            loader = store.loader(
                **settings(name), epoch=epoch, replicate=number, batch_size=137, device="cpu"
            )
            half = len(batches) // EPOCHS
            assert len(loader) == half
            assert_same(list(loader), batches[epoch * half : (epoch + 1) * half])


def test_a_loader_can_be_gone_through_again_and_beside_another(store):
    first, second = (store.loader(share=0.5, epoch=epoch, device="cpu") for epoch in (0, 1))
    assert repr(first) == "<Loader: epoch 0, 412 images in 7 batches>"
    once = list(first)
    for ours, theirs, before in zip(first, second, once, strict=True):
        assert torch.equal(ours.images, before.images)
        assert not torch.equal(ours.images, theirs.images)


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_a_data_loader_gives_the_batches_of_training(store, trained, context):
    """With workers that live on while the epoch changes, too."""
    (batches,) = trained[1]["each"]
    dataset = store.dataset(**settings("each"))
    workers = {} if context is None else {"num_workers": 2, "multiprocessing_context": context}
    loader = DataLoader(
        dataset,
        batch_sampler=dataset.batches(137),
        persistent_workers=context is not None,
        **workers,
    )
    for epoch in range(EPOCHS):
        dataset.set_epoch(epoch)
        assert len(loader) == 3
        assert_same(list(loader), batches[3 * epoch : 3 * epoch + 3])


def test_items_are_rows_of_the_batches(store):
    dataset = store.dataset(share=0.4, seed=5, features=True, epoch=1)
    assert (len(dataset), dataset.epoch) == (412, 1)
    batch = next(iter(store.loader(share=0.4, seed=5, features=True, epoch=1, device="cpu")))
    for place in (0, 17):
        item = dataset[int(batch.indices[place])]
        assert item.images.shape == (3, 16, 16)
        for ours, theirs in zip(item, batch, strict=True):
            assert torch.equal(ours, theirs[place])
    assert torch.equal(dataset[-1].images, dataset[411].images)
    with pytest.raises(IndexError, match="image 412 of 412"):
        dataset[412]


def test_a_data_set_can_be_pickled(store, monkeypatch, tmp_path):
    dataset = store.dataset(share=0.4)
    dataset.set_epoch(1)
    wanted, data = dataset[3], pickle.dumps(dataset)
    assert len(data) < 20_000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(data)
    assert again.epoch == 1
    assert all(map(torch.equal, again[3], wanted))
    again.set_epoch(0)
    assert dataset.epoch == 1


def test_a_worker_tells_of_a_damaged_view(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained[0].folder)
    damaged = tmp_path / "resnet8.zarr"
    shutil.copytree("data/stores/resnet8.zarr", damaged)
    for path in damaged.glob("plain/logits/c.*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    dataset = decant.open(damaged).dataset(share=0.0, seed=5)
    for workers, kind in ((0, StoreError), (1, decant.DecantError)):
        loader = DataLoader(dataset, batch_sampler=dataset.batches(137), num_workers=workers)
        with pytest.raises(kind, match="plain/logits/c"):
            list(loader)


def test_a_remote_store_is_read_in_spawned_workers(trained, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.chdir(trained[0].folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(trained[0].folder / "cache"))
    with http_server(trained[0].folder / "data/stores/resnet8.zarr") as server:
        dataset = decant.open(server.url("resnet8.zarr")).dataset(share=0.0, seed=5)
        wanted = trained[1]["plain"][0][:3]
        for context in ("spawn", "fork"):
            loader = DataLoader(
                dataset,
                batch_sampler=dataset.batches(137),
                num_workers=1,
                multiprocessing_context=context,
            )
            if context == "spawn":
                assert_same(list(loader), wanted)
            else:
                with pytest.raises(decant.DecantError, match='multiprocessing_context="spawn"'):
                    list(loader)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.5}, "^share: expected a number between 0 and 1, found 1.5"),
        ({"epoch": -1}, "^epoch: expected a whole number at least 0"),
        ({"epoch": 1.5}, "^epoch: expected a whole number"),
        ({"batch_size": 0}, "^batch_size: expected"),
        ({"views": 4}, "views: 4 are asked for, but .* has 3"),
        ({"sampling": "batch"}, "^sampling: expected one of epoch, image"),
        ({"seed": "x"}, "^seed: expected a whole number"),
        ({"device": "tpu"}, "^device: expected"),
        ({"prepared": "elsewhere"}, "elsewhere/dataset.json: cannot be read"),
    ],
)
def test_mistakes_are_told(store, wrong, message):
    with pytest.raises(ValueError, match=message):
        store.loader(**wrong)


def test_an_epoch_must_be_one(store):
    with pytest.raises(decant.DecantError, match=r"^epoch: expected a whole number at least 0"):
        store.dataset().set_epoch(-1)
