"""A share of replicates on a worker, without an engine: the same files as at home, whatever is lost."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cluster_samples import VIEWS, Here, small_store
from store_samples import tree
from training_samples import AUGMENTATION, KD, PARAMS

from pipeline.cluster import share as share_module
from pipeline.cluster.share import Done, NewFile
from pipeline.cluster.stores import SentStore
from pipeline.cluster.training import train_on
from pipeline.core.machine import Machine
from pipeline.core.notes import METRICS, read_epochs
from pipeline.core.progress import Tick
from pipeline.distill.epochs import StoreViews
from pipeline.hard_labels.epochs import HardLabels, hard_label_loss
from pipeline.store.format.errors import DamagedFileError
from pipeline.store.remote.cache import Cache
from pipeline.training import jobs
from pipeline.training.jobs import Job, Replicate
from pipeline.training.outs import CHECKPOINT
from pipeline.training.processes import WorkerError
from pipeline.training.replicates import run_replicates
from pipeline.training.trainer import Trainer
from pipeline.views.predict import place

CPU = torch.device("cpu")
NETWORK = "conftest:TinyNetwork"


class Told:
    def __init__(self):
        self.ticks, self.texts = [], []

    def show(self, tick):
        self.ticks.append(tick)

    def expect(self, costs, at_once):
        pass

    def tell(self, text):
        self.texts.append(text)


@pytest.fixture
def machine(tmp_path):
    cache = str(tmp_path / "cache")
    return Machine(data_root="", device="cpu", cluster="local", cache_folder=cache)


@pytest.fixture(scope="module")
def store(tiny_network, few_digits, tmp_path_factory):
    network = place(tiny_network(10).eval(), CPU)
    return small_store(network, few_digits, tmp_path_factory.mktemp("store"))


def student(store, **changes):
    job = Job(
        kind="student",
        name="s",
        entry={},
        network=NETWORK,
        seed=20,
        replicates=2,
        training=replace(PARAMS, epochs=4),
        augmentation=AUGMENTATION,
        epochs=StoreViews(store, 0.0, seed=20, features=True),
        loss=KD,
    )
    return replace(job, **changes)


def teacher(data, **changes):
    labels = HardLabels(AUGMENTATION, None, 20, len(data.train.labels))
    changes = {"kind": "teacher", "epochs": labels, "loss": hard_label_loss, **changes}
    return student(None, **changes)


def replicates_of(job, folder):
    folder.mkdir()
    return [Replicate(job, number, folder) for number in range(job.replicates)]


def at_home(job, data, folder):
    run_replicates(replicates_of(job, folder), data, CPU, Machine(data_root="", workers=1), Told())
    return results(folder)


def away(job, data, folder, machine, engine):
    """Train on a cluster; returns what was told, and the failures by index."""
    told, ends = Told(), {}
    replicates = (
        replicates_of(job, folder)
        if not folder.exists()
        else [Replicate(job, number, folder) for number in range(job.replicates)]
    )
    train_on(engine, replicates, data, CPU, machine, told, ends.__setitem__)
    return told, ends


def results(folder):
    return {
        name: data
        for name, data in tree(folder).items()
        if not name.endswith(("timing.json", "metrics.jsonl"))
    }


def elsewhere(store, monkeypatch):
    """As on a node without the head's disk: nothing lies at the store's place; returns how it is fetched."""
    monkeypatch.setattr(SentStore, "_in_place", lambda self, folder: None)
    fetched = []

    def fetch(path):
        fetched.append(Path(path).relative_to(store.folder.absolute()).as_posix())
        return Path(path).read_bytes()

    return fetch, fetched


@pytest.mark.parametrize("shared_disk", [True, False])
def test_students_elsewhere_are_those_at_home(
    store, few_digits, tmp_path, machine, monkeypatch, shared_disk
):
    fetch, fetched = (None, []) if shared_disk else elsewhere(store, monkeypatch)
    told, ends = away(student(store), few_digits, tmp_path / "away", machine, Here(fetch=fetch))
    assert ends == {0: None, 1: None}
    assert results(tmp_path / "away") == at_home(student(store), few_digits, tmp_path / "home")
    assert len(results(tmp_path / "away")) == 10
    views = {f"plain/{name}/c.{v}.0.0" for name in ("logits", "features") for v in range(VIEWS)}
    assert views <= set(fetched) or shared_disk
    assert len(fetched) == len(set(fetched)), "each file crosses once"
    assert told.texts == []
    last = {tick.job: (tick.done, tick.total) for tick in told.ticks}
    assert last == {"student s #0": (1280, 1280), "student s #1": (1280, 1280)}


def test_teachers_elsewhere_are_those_at_home(few_digits, tmp_path, machine):
    job = teacher(few_digits)
    away(job, few_digits, tmp_path / "away", machine, Here())
    assert results(tmp_path / "away") == at_home(job, few_digits, tmp_path / "home")


def is_checkpoint(message):
    return isinstance(message, NewFile) and message.name == CHECKPOINT


def slowly(monkeypatch):
    """Workers wait until each checkpoint is seen: an epoch of a tiny network takes less than a look."""
    real, save = share_module._Share.new_files, Trainer.save
    seen = threading.Semaphore(0)

    def saved(self, path):
        save(self, path)
        assert seen.acquire(timeout=20)

    def new(self):
        for message in real(self):
            yield message
            if is_checkpoint(message):
                seen.release()

    monkeypatch.setattr(Trainer, "save", saved)
    monkeypatch.setattr(share_module._Share, "new_files", new)


def test_a_lost_worker_costs_an_epoch_at_most(store, few_digits, tmp_path, machine, monkeypatch):
    home = at_home(student(store), few_digits, tmp_path / "home")
    slowly(monkeypatch)
    checkpoints, metrics = [], tmp_path / "away" / "replicate-0" / METRICS
    at_the_loss = []

    def lost(number, message):
        if is_checkpoint(message):
            checkpoints.append((number, message.index))
        if is_lost := number == 0 and len(checkpoints) == 2:
            at_the_loss.append(read_epochs(metrics))
        return is_lost

    engine = Here(lost)
    told, ends = away(student(store), few_digits, tmp_path / "away", machine, engine)
    assert told.texts == ["student s #0: its worker was lost (as the test asks); sent out again"]
    assert ends == {0: None, 1: None}
    assert results(tmp_path / "away") == home
    # Two epochs came from the first worker; the second one had the others to do.
    assert [list(order.begun) for order, _ in engine.started] == [[], [], [0]]
    at = [i for i, message in enumerate(engine.messages) if is_checkpoint(message)][1]
    later = [message for message in engine.messages[at:] if isinstance(message, Tick)]
    assert min(tick.done for tick in later if tick.job == "student s #0") > 2 * 320
    assert sum(number == 2 for number, _ in checkpoints) == 2, "two epochs were left"
    assert not list((tmp_path / "away").rglob(CHECKPOINT))
    # The head sees epochs as they end, and a line keeps its time when the work goes on elsewhere.
    assert len(at_the_loss[0]) == 1
    assert read_epochs(metrics)[:1] == at_the_loss[0]
    assert len(read_epochs(metrics)) == 4


@pytest.mark.slow
def test_cluster_and_home_go_on_from_each_other(store, few_digits, tmp_path, machine, monkeypatch):
    home = at_home(student(store), few_digits, tmp_path / "home")
    with monkeypatch.context() as patches:
        slowly(patches)
        seen = []

        def stop(number, message):
            seen.extend([1] if is_checkpoint(message) else [])
            if len(seen) == 3:
                raise KeyboardInterrupt
            return False

        with pytest.raises(KeyboardInterrupt):
            away(student(store), few_digits, tmp_path / "away", machine, Here(stop))
    left = tmp_path / "away" / "replicate-0" / CHECKPOINT
    assert left.exists()
    replicates = [Replicate(student(store), number, tmp_path / "away") for number in range(2)]
    told = Told()
    run_replicates(replicates, few_digits, CPU, Machine(data_root="", workers=1), told)
    assert min(tick.done for tick in told.ticks if tick.job == "student s #0") > 2 * 320
    assert results(tmp_path / "away") == home


class Diverging:
    """A loss that becomes NaN."""

    def __call__(self, logits, features, batch, epoch):
        return hard_label_loss(logits, features, batch, epoch) * torch.where(epoch > 1, np.nan, 1.0)

    def facts(self):
        return {}


def test_a_mistake_ends_one_replicate_and_its_files_come_home(few_digits, tmp_path, machine):
    job = teacher(few_digits, loss=Diverging(), replicates=1)
    _, ends = away(job, few_digits, tmp_path / "bad", machine, Here())
    folder = tmp_path / "bad" / "replicate-0"
    assert "loss became nan" in ends[0]
    kept = [path for path in folder.iterdir() if path.suffix == ".safetensors"]
    assert any(str(path) in ends[0] for path in kept), (ends[0], kept)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("versions", {"versions": {"torch": "1.0"}}, "on node .*: torch .* here, 1.0 on the head"),
        ("code", {"code": "other"}, "code here is not the head's"),
    ],
)
def test_a_worker_of_another_version_refuses(
    few_digits, tmp_path, machine, monkeypatch, name, change, message
):
    start = Here.start
    seen = []

    def altered(self, work, order, data):
        order = replace(order, site=replace(order.site, **change))
        seen.append(name)
        return start(self, work, order, data)

    monkeypatch.setattr(Here, "start", altered)
    with pytest.raises(WorkerError, match=message):
        away(teacher(few_digits), few_digits, tmp_path / "a", machine, Here())
    assert seen


def test_a_worker_with_another_network_of_that_name_refuses(
    few_digits, tmp_path, machine, monkeypatch
):
    start = Here.start

    def altered(self, work, order, data):
        monkeypatch.setattr(jobs, "own_code_sha256", lambda name: "0" * 64)
        return start(self, work, order, data)

    monkeypatch.setattr(Here, "start", altered)
    with pytest.raises(WorkerError, match="teacher s #0: not the head's here: own_network"):
        away(teacher(few_digits), few_digits, tmp_path / "a", machine, Here())


def test_damaged_images_are_refused(few_digits, tmp_path, machine):
    images = few_digits.train.images.copy()
    images[0, 0, 0] ^= 1
    damaged = replace(few_digits, train=replace(few_digits.train, images=images))
    with pytest.raises(WorkerError, match="prepared data set was damaged on its way"):
        away(teacher(few_digits), damaged, tmp_path / "a", machine, Here())


def test_another_processor_is_told(few_digits, tmp_path, machine, monkeypatch):
    start = Here.start

    def altered(self, work, order, data):
        order = replace(order, site=replace(order.site, instructions="AVX9"))
        return start(self, work, order, data)

    monkeypatch.setattr(Here, "start", altered)
    told, _ = away(teacher(few_digits, replicates=1), few_digits, tmp_path / "a", machine, Here())
    (text,) = told.texts
    assert "this machine with AVX9: the last bits of their results may differ" in text


def test_other_bytes_than_the_manifest_s_are_no_views(
    store, few_digits, tmp_path, machine, monkeypatch
):
    elsewhere(store, monkeypatch)
    job = student(store, replicates=1)
    _, ends = away(job, few_digits, tmp_path / "a", machine, Here(fetch=lambda path: b"forged"))
    assert "not those of the manifest any more" in ends[0]


def test_a_fetched_store_answers_like_the_one_at_home(store, tmp_path, monkeypatch):
    fetch, fetched = elsewhere(store, monkeypatch)
    cache = Cache(tmp_path / "cache", 10**9)
    there = SentStore.of(store).open(fetch, cache)
    for v in range(VIEWS):
        assert np.array_equal(there.group("plain").logits(v), store.group("plain").logits(v))
        assert np.array_equal(there.group("plain").features(v), store.group("plain").features(v))
        assert (
            there.group("plain").plan(v).arrays().keys()
            == store.group("plain").plan(v).arrays().keys()
        )
    count = len(fetched)
    again = SentStore.of(store).open(fetch, cache)
    assert np.array_equal(again.group("plain").logits(0), store.group("plain").logits(0))
    assert len(fetched) == count, "kept on this node"
    forged = SentStore.of(store).open(lambda path: b"", Cache(tmp_path / "empty", 10**9))
    with pytest.raises(DamagedFileError):
        forged.group("plain").logits(0)


def test_a_store_at_the_same_place_is_read_there_if_it_is_the_same(store, tmp_path):
    sent = SentStore.of(store)
    there = sent.open(None, Cache(tmp_path, 10**9))
    assert np.array_equal(there.group("plain").logits(1), store.group("plain").logits(1))
    manifest = replace(sent.manifests["plain"], digest="0" * 64)
    other = replace(sent, manifests={"plain": manifest})
    assert other._in_place(sent.place) is None


def test_a_place_that_cannot_be_looked_at_is_no_reason_to_end(store, tmp_path):
    """The head's folder may be another user's on this node; here its name is longer than any."""
    fetched = {str(store.folder / name): data for name, data in tree(store.folder).items()}
    sent = replace(SentStore.of(store), place=tmp_path / ("x" * 300))
    with pytest.raises(OSError, match="too long"):
        sent.place.is_dir()
    fetch = lambda path: fetched[path.replace(str(sent.place), str(store.folder))]  # noqa: E731
    there = sent.open(fetch, Cache(tmp_path / "cache", 10**9))
    assert np.array_equal(there.group("plain").logits(1), store.group("plain").logits(1))


def test_a_record_is_the_last_of_a_replicate_s_files(few_digits, tmp_path, machine):
    engine = Here()
    away(teacher(few_digits, replicates=1), few_digits, tmp_path / "a", machine, engine)
    names = [m.name for m in engine.messages if isinstance(m, NewFile)]
    assert names[-1] == "record.json"
    assert len({*names} - {CHECKPOINT}) == 7
    kinds = [type(m) for m in engine.messages if isinstance(m, NewFile | Done | Tick)]
    assert kinds[-1] is Done
    assert json.loads((tmp_path / "a/replicate-0/record.json").read_text())["replicate"] == 0
