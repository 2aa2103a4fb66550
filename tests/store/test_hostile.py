"""Stores that mean harm, by the thousand: refused by name, quickly, in little memory.

`fuzz_store.py` looks for more of them, led by coverage; what it found is kept here.
"""

import time

import pytest
from hostile_stores import (
    CODECS,
    NAMES,
    Choices,
    HostileStore,
    attack,
    attack_manifest,
    attack_npz,
    limited_memory,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.store.read import open_store
from pipeline.tools.export import export_store
from pipeline.tools.verify import verify_store

SECONDS = 5.0
# What a store of 150 kB may cost: the ratio of bombs that are still read (`SMALL_BYTES`) is not
# reached by any of these, whose files are small.
MEMORY_BYTES = 2**29

some = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking would take longer than it helps
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
many = settings(some, max_examples=1500)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return {name: HostileStore(tmp_path_factory.mktemp(name), CODECS[name]) for name in NAMES}


def attack_within_limits(stores, data):
    choices = Choices(data)
    store = stores[choices.of(NAMES)]
    with store.damaged(choices) as path:
        began = time.process_time()
        with limited_memory(MEMORY_BYTES):
            attack(path, store.other)
        assert time.process_time() - began < SECONDS
    assert [p.name for p in store.secret.iterdir()] == ["file"]


@some
@given(data=st.binary(max_size=120))
def test_hostile_stores_are_refused_and_nothing_else_happens(stores, data):
    attack_within_limits(stores, data)


@pytest.mark.parametrize("data", [b"?-E\xa6B\xf9\x82\x05d\xf3g\xfa\x92\xa0C"])
def test_what_was_found_once_is_refused(stores, data):
    """A data set's fingerprint with another number of images: such logits were compared."""
    attack_within_limits(stores, data)


@pytest.mark.slow
@many
@given(data=st.binary(max_size=400))
def test_very_many_hostile_stores_are_refused(stores, data):
    attack_within_limits(stores, data)


def test_the_stores_are_good_before_and_after(stores):
    """Else the refusals would say nothing."""
    for store in stores.values():
        store.restore()
        assert verify_store(store.path, deep=True) == []
        assert attack(store.path, store.other) == []


def test_hostile_stores_get_past_the_digest(stores):
    """They are refused for very different reasons, so all the checks are reached."""
    reasons = set()
    for number in range(100):
        data = bytes((number * factor) % 251 for factor in range(1, 60))
        choices = Choices(data)
        store = stores[choices.of(NAMES)]
        with store.damaged(choices) as path:
            reasons |= {problem.kind for problem in verify_store(path, deep=True)}
    assert reasons >= {
        "DamagedFileError",
        "ExtraFileError",
        "LinkError",
        "ManifestError",
        "MissingFileError",
        "SchemaError",
    }


@some
@given(data=st.binary(max_size=300), group=st.sampled_from(["clean", "plain", "mixed"]))
def test_any_bytes_as_a_manifest(data, group):
    attack_manifest(data, group)
    attack_manifest(b'{"schema": 1, ' + data, group)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, stores):
    folder = tmp_path_factory.mktemp("exported")
    store = stores["dense"]
    export_store(open_store(store.path, groups=["clean", "mixed"]), "npz", folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@some
@given(data=st.data())
def test_hostile_npz_files_are_refused(exported, tmp_path, data):
    raw = bytearray(data.draw(st.sampled_from(exported)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    path = tmp_path / "hostile.npz"
    path.write_bytes(raw)
    attack_npz(path)
