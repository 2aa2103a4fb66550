"""Thousands of random damages: none passes `verify --deep`, none lets a wrong number into training.

And hundreds of good stores of all shapes, none of which is blamed.
"""

import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from store_samples import (
    CODECS,
    DATASET,
    FEATURES,
    IMAGES,
    header,
    make_store,
    outputs,
    recipe,
    tree,
)

from pipeline.distill.epochs import StoredEpochs
from pipeline.distill.params import groups_of
from pipeline.store.format import layout
from pipeline.store.format.codecs import Codec
from pipeline.store.format.errors import StoreError
from pipeline.store.read import open_store
from pipeline.store.write.writers import CleanWriter, GroupWriter
from pipeline.tools.verify import verify_store
from pipeline.views.plans import ViewRecipe, draw_view

VIEWS = 5
ROOT_METADATA = "zarr.json"


@dataclass(frozen=True)
class Student:
    """How an imagined student reads the store."""

    share: float
    features: bool
    epochs: int
    sampling: str = "epoch"

    def open(self, store):
        opened = open_store(store, groups=groups_of(self.share), dataset=DATASET)
        options = {"replicate": 0, "seed": 7, "sampling": self.sampling, "features": self.features}
        return StoredEpochs(opened, self.share, **options)

    def reads(self, name):
        """Whether the student reads a file's numbers."""
        group, *rest = name.split("/")
        if not rest:
            return True  # the root's metadata
        if group not in groups_of(self.share):
            return False
        array = rest[0].partition("_")[0]  # some codecs keep logits in several arrays
        if not rest[-1].startswith("c.") or array not in ("logits", "features"):
            return True  # metadata, plan, manifest
        view = int(rest[-1].split(".")[1])
        seen = VIEWS if self.sampling == "image" else self.epochs
        return view < seen and (array == "logits" or self.features)


STUDENTS = [
    Student(0.0, features=False, epochs=VIEWS),
    Student(0.0, features=True, epochs=2),
    Student(1.0, features=True, epochs=VIEWS),
    Student(1.0, features=False, epochs=3),
    Student(0.5, features=True, epochs=VIEWS),
    Student(0.5, features=False, epochs=VIEWS, sampling="image"),
]


def numbers(epoch):
    """All arrays of an epoch."""
    plan = {field.name: getattr(epoch.plan, field.name) for field in fields(epoch.plan)}
    values = {"logits": epoch.teacher_logits, "features": epoch.teacher_features}
    return {name: array for name, array in {**plan, **values}.items() if array is not None}


def equal(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


@dataclass(frozen=True)
class Damage:
    """The bytes that some files have afterwards; None where a file is gone."""

    kind: str
    files: dict[str, bytes | None]

    def apply(self, store):
        for name, data in self.files.items():
            put(store / name, data)

    def undo(self, store, good):
        for name in self.files:
            put(store / name, good[name])


def put(path, data):
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)


def flip(rng, data):
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(changed)


def swapped(rng, good):
    """Two files exchanged: half of the time two views of one array, or two whole views."""
    names = sorted(good)
    if rng.random() < 0.5:
        group = rng.choice(["plain", "mixed"])
        one, other = rng.sample(range(VIEWS), 2)
        arrays = rng.choice([["logits"], ["features"], ["logits", "features"]])
        pairs = [
            (f"{group}/{name}/c.{one}.0.0", f"{group}/{name}/c.{other}.0.0") for name in arrays
        ]
    else:
        one, other = rng.sample(names, 2)
        while good[one] == good[other]:
            one, other = rng.sample(names, 2)
        pairs = [(one, other)]
    return {a: good[b] for pair in pairs for a, b in (pair, pair[::-1])}


def random_damage(rng, good):
    name = rng.choice(sorted(good))
    data = good[name]
    kind = rng.choice(["flipped", "flipped", "truncated", "emptied", "deleted", "swapped"])
    if kind == "swapped":
        return Damage(kind, swapped(rng, good))
    changed = {
        "flipped": lambda: flip(rng, data),
        "truncated": lambda: data[: rng.randrange(1, len(data))],
        "emptied": lambda: b"",
        "deleted": lambda: None,
    }[kind]()
    return Damage(kind, {name: changed})


def first_refusal(epochs, student, reference):
    """The error that training meets; every epoch before it has the right numbers."""
    for epoch in range(student.epochs):
        try:
            found = epochs(epoch)
        except StoreError as error:
            return error
        assert equal(numbers(found), reference[epoch]), "a wrong number reached training"
    return None


def train(store, student, reference):
    try:
        epochs = student.open(store)
    except StoreError as error:
        return error
    return first_refusal(epochs, student, reference)


@pytest.mark.parametrize(
    "count", [60, pytest.param(4200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_no_damage_passes(tmp_path, count):
    rng = random.Random(count)
    told, refused, harmless = Counter(), 0, 0
    for name, codec in CODECS.items():
        store = make_store(tmp_path / name, views=VIEWS, codec=codec)
        good, hit = tree(store), set()
        references = {}
        for student in STUDENTS:
            epochs = student.open(store)
            references[student] = [numbers(epochs(epoch)) for epoch in range(student.epochs)]
        for _ in range(count // len(CODECS)):
            damage = random_damage(rng, good)
            student = rng.choice(STUDENTS)
            open_before = student.open(store)
            damage.apply(store)
            problems = verify_store(store, deep=True)
            assert problems, damage
            assert {problem.path for problem in problems} <= damage.files.keys(), problems
            error = train(store, student, references[student])
            if any(map(student.reads, damage.files)):
                assert error is not None, (damage, student)
            if error is not None:
                assert error.path in damage.files
                assert error.hint
            # Damage that comes while a student trains: its numbers are right or it is refused.
            late = first_refusal(open_before, student, references[student])
            told[damage.kind] += 1
            hit |= damage.files.keys()
            refused += error is not None
            harmless += error is None and late is None
            damage.undo(store, good)
        assert verify_store(store, deep=True) == []
        for student in STUDENTS:
            assert train(store, student, references[student]) is None
        assert hit == set(good) or count < 1000
    assert min(told.values()) > count / 20
    print(f"{dict(told)}; refused by training: {refused}; not read by the student: {harmless}")


def random_codec(rng, classes):
    name = rng.choice(sorted(CODECS))
    codec = replace(CODECS[name], level=CODECS[name].level and rng.choice([1, 3, 9, 22]))
    if codec.keep_bits is not None:
        return replace(codec, keep_bits=rng.randrange(1, 10))
    if codec.top_k is None:
        return codec
    # Classes have to be left over.
    return Codec() if classes == 1 else replace(codec, top_k=rng.randrange(1, classes))


def random_store(rng, folder):
    """A good store of random shape, groups and codec; gives the groups that it has."""
    numbers = np.random.default_rng(rng.getrandbits(64))
    classes, features = rng.choice([1, 2, 10, 100, 257]), rng.choice([None, 1, 7, 64])
    images, tests = rng.choice([1, 2, 3, 50, 333]), rng.choice([1, 5, 40])
    dataset = replace(
        DATASET,
        name=rng.choice(["digits", "cifar100", "my-images_2.0"]),
        fingerprint=f"{rng.getrandbits(256):064x}",
        train_images=images,
        test_images=tests,
        classes=classes,
        class_names=tuple(rng.choice(["", "ü", "a b", "数"]) + str(c) for c in range(classes)),
    )
    codec = random_codec(rng, classes)
    shared = {"dataset": dataset, "codec": codec}
    groups = rng.sample(["clean", "plain", "mixed"], rng.choice([1, 2, 3]))
    scale = rng.choice([0.0, 1e-7, 1.0, 65000.0])

    def values(count, width):
        return (scale * numbers.uniform(-1, 1, (count, width))).astype(np.float32)

    for group in groups:
        if group == "clean":
            writer = CleanWriter(folder, header("clean", **shared), feature_dim=features)
            for split, count in (("train", images), ("test", tests)):
                labels = numbers.integers(0, classes, count)
                given = None if features is None else values(count, features)
                writer.write_split(split, values(count, classes), given, labels)
        else:
            made = ViewRecipe(
                pad=rng.choice([0, 1, 4, 90]),
                flip=rng.random() < 0.5,
                draw=rng.choice(["stratified", "random"]) if images < 100 else "random",
                alpha=rng.choice([0.1, 1.0, 8.0]) if group == "mixed" else None,
                seed=rng.randrange(2**31),
            )
            count = rng.choice([1, 2, 15, 16, 17, 33])
            plan = [draw_view(group, made, v, images) for v in range(count)]
            writer = GroupWriter(
                folder, header(group, recipe=made, **shared), plan, feature_dim=features
            )
            for v in rng.sample(range(count), count):
                given = None if features is None else values(images, features)
                writer.write_view(v, values(images, classes), given)
        writer.finish()
    return groups, dataset


def as_dvc_leaves_it(rng, store):
    """Strip what a writer leaves beside the store, and link, protect or part the files as DVC does."""
    for path in store.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not (store / "clean").exists() and rng.random() < 0.5:
        (store / ROOT_METADATA).unlink()
    how = rng.choice(["plain", "symlink", "hardlink", "read-only"])
    if how == "plain":
        return
    cache = store.with_suffix(".cache")
    cache.mkdir()
    for number, path in enumerate([p for p in sorted(store.rglob("*")) if p.is_file()]):
        kept = cache / str(number)
        path.rename(kept)
        kept.chmod(0o444)
        if how == "symlink":
            path.symlink_to(kept)
        elif how == "hardlink":
            os.link(kept, path)
        else:
            shutil.copy2(kept, path)


@pytest.mark.parametrize(
    "count", [12, pytest.param(150, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_no_good_store_is_blamed(tmp_path, monkeypatch, count):
    rng = random.Random(count)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no test of what survives a power cut
    limit = layout.MAX_CHUNK_BYTES
    for number in range(count):
        # Views beyond this limit are cut by rows; the real one would need views of 64 MiB.
        monkeypatch.setattr(layout, "MAX_CHUNK_BYTES", rng.choice([limit, 20_000]))
        store = tmp_path / f"store-{number}.zarr"
        groups, dataset = random_store(rng, store)
        as_dvc_leaves_it(rng, store)
        assert verify_store(store, deep=True) == []
        opened = open_store(store, groups=groups, dataset=dataset)
        for name in set(groups) & {"plain", "mixed"}:
            epochs = StoredEpochs(opened, float(name == "mixed"), replicate=0, seed=0)
            for epoch in range(opened.group(name).views):
                assert np.isfinite(epochs(epoch).teacher_logits).all()
        shutil.rmtree(store)


def test_a_view_that_is_exchanged_for_one_of_another_teacher_is_refused(tmp_path):
    """An intact file with a good CRC of its own, from a store of the same shape."""
    store, other = make_store(tmp_path / "one"), make_store(tmp_path / "other")
    folder = tmp_path / "third"
    plan = [draw_view("plain", recipe("plain"), v, IMAGES) for v in range(VIEWS)]
    teacher = replace(header("plain").teacher, weights_sha256="ee" * 32)
    writer = GroupWriter(folder, header("plain", teacher=teacher), plan, feature_dim=FEATURES)
    for v in range(VIEWS):
        logits = outputs("another teacher", v, IMAGES, DATASET.classes)
        writer.write_view(v, logits, outputs("another teacher", v, IMAGES, FEATURES))
    writer.finish()
    put(store / "plain/logits/c.2.0.0", (folder / "plain/logits/c.2.0.0").read_bytes())
    with pytest.raises(StoreError, match="not the one of the manifest"):
        open_store(store, groups=["plain"]).group("plain").logits(2)
    assert [p.path for p in verify_store(store, deep=True)] == ["plain/logits/c.2.0.0"]
    # A whole group of another teacher is a good group, but no partner of the first one's.
    shutil.rmtree(other / "plain")
    shutil.copytree(folder / "plain", other / "plain")
    assert verify_store(other, deep=True) == []
    opened = open_store(other, groups=["plain", "mixed"])
    with pytest.raises(ValueError, match="come from different weights"):
        StoredEpochs(opened, 0.5, replicate=0, seed=0)
