"""The cache of remote stores: each file fetched once by all processes, checked, within its bound."""

import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from manifest_samples import sign
from remote_servers import http_server
from store_samples import CLASSES, IMAGES, make_store, outputs

from pipeline.core.errors import DecantError
from pipeline.core.files import StorageError
from pipeline.core.machine import Machine
from pipeline.store.format.errors import DamagedFileError
from pipeline.store.read import open_store
from pipeline.store.remote.cache import Cache

pytest.importorskip("obstore")

MB = 10**6
VIEWS = 5


@pytest.fixture
def server(tmp_path):
    with http_server(make_store(tmp_path, views=VIEWS)) as running:
        yield running


def read_all(url, folder, limit, rounds=1):
    """Read every view; returns whether all numbers are the teacher's."""
    group = open_store(url, groups=["plain"], cache=Cache(folder, limit)).group("plain")
    return all(
        np.array_equal(group.logits(v), outputs("plain", v, IMAGES, CLASSES))
        for _ in range(rounds)
        for v in range(VIEWS)
    )


def kept(folder):
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())


def size(folder):
    return sum(path.stat().st_size for path in kept(folder))


def test_two_processes_fetch_each_view_once_and_share_it(server, tmp_path):
    folder = tmp_path / "cache"
    arguments = [(server.url(), folder, MB)] * 2
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(read_all, arguments) == [True, True]
    views = {name: count for name, count in server.requests.items() if "logits" in name}
    assert len(views) == VIEWS
    assert set(views.values()) == {1}
    assert read_all(server.url(), folder, MB)
    assert server.requests["plain/logits/c.0.0.0"] == 1


def test_two_processes_keep_the_bound(server, tmp_path):
    folder, limit = tmp_path / "cache", 3 * (IMAGES * CLASSES * 2 + 4)
    arguments = [(server.url(), folder, limit, 3)] * 2
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(read_all, arguments) == [True, True]
    assert 0 < size(folder) <= limit
    assert sum(server.requests.values()) > 2 * VIEWS, "what was evicted is fetched again"


def test_threads_read_at_the_same_time(server, tmp_path):
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(read_all(server.url(), tmp_path / "cache", MB, 5))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    assert server.requests["plain/logits/c.0.0.0"] == 1


def test_what_was_not_read_for_longest_goes(server, tmp_path):
    file = IMAGES * CLASSES * 2 + 4
    cache = Cache(tmp_path / "cache", 3 * file)
    group = open_store(server.url(), groups=["plain"], cache=cache).group("plain")
    for v in (0, 1, 2):
        group.logits(v)
    for number, path in enumerate(sorted(kept(cache.folder), key=lambda p: p.stat().st_mtime_ns)):
        os.utime(path, (number, number))
    group.logits(0)
    group.logits(3)
    asked = dict(server.requests)
    for v in (0, 2, 3):
        group.logits(v)
    assert server.requests == asked
    group.logits(1)
    assert server.requests["plain/logits/c.1.0.0"] == 2


@pytest.mark.parametrize("damage", [b"", b"short", None, "flip"])
def test_a_damaged_file_is_fetched_again(server, tmp_path, damage):
    folder = tmp_path / "cache"
    assert read_all(server.url(), folder, MB)
    for path in kept(folder):
        data = bytearray(path.read_bytes())
        path.unlink()
        data[5] ^= 4
        if damage is not None:
            path.write_bytes(data if damage == "flip" else damage)
    assert read_all(server.url(), folder, MB)
    assert server.requests["plain/logits/c.0.0.0"] == 2


def with_wrong_crcs(content):
    """Have a manifest list the same files under another CRC."""
    for path, facts in content["files"].items():
        if path.startswith("logits/c."):
            facts["crc32c"] ^= 1


@pytest.mark.parametrize("cached", [False, True])
def test_a_manifest_with_wrong_crcs_is_told_and_evicts_nothing(server, tmp_path, cached):
    cache = Cache(tmp_path / "cache", MB)
    view = "plain/logits/c.0.0.0"
    wrong = make_store(tmp_path / "other", views=VIEWS)
    sign(wrong, "plain", with_wrong_crcs)
    good = open_store(server.url(), groups=["plain"], cache=cache).group("plain")
    if cached:
        good.logits(0)
    with http_server(wrong) as other:
        group = open_store(other.url(), groups=["plain"], cache=cache).group("plain")
        with pytest.raises(DamagedFileError, match=rf"{view}: .*manifest"):
            group.logits(0)
        assert other.requests[view] == (0 if cached else 1)
    assert np.array_equal(good.logits(0), outputs("plain", 0, IMAGES, CLASSES))
    assert server.requests[view] == 1


def test_parts_of_killed_processes_go_like_all_else(server, tmp_path):
    folder = tmp_path / "cache"
    part = folder / "files/ab/cdef.1.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * MB)
    os.utime(part, (1, 1))
    assert read_all(server.url(), folder, MB)
    assert not part.exists()


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    file = tmp_path / "file"
    file.touch()
    group = open_store(server.url(), groups=["plain"], cache=Cache(file, MB)).group("plain")
    with pytest.raises(StorageError, match=r"machine\.cache_folder"):
        group.logits(0)


def test_a_lock_that_cannot_be_had_is_the_cache_s_fault(server, tmp_path):
    """Of another user, or on a disk without inodes; here a folder in its place."""
    folder = tmp_path / "cache"
    store = open_store(server.url(), groups=["plain"], cache=Cache(folder, MB))
    for number in range(256):
        (folder / "locks" / f"{number:02x}").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"machine\.cache_folder"):
        store.group("plain").logits(0)


def test_what_is_kept_counts_although_its_time_cannot_be_set(server, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    assert read_all(server.url(), folder, MB)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "utime", refuse)  # root may set any
    assert read_all(server.url(), folder, MB)
    assert {server.requests[f"plain/logits/c.{v}.0.0"] for v in range(VIEWS)} == {1}


def test_files_that_vanish_before_they_are_read(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Cache, "read", lambda self, facts: None)
    cache = Cache(tmp_path / "cache", MB)
    group = open_store(server.url(), groups=["plain"], cache=cache).group("plain")
    with pytest.raises(DecantError, match="cache_gigabytes"):
        group.logits(0)


def test_place_and_bound_are_parameters(monkeypatch):
    cache = Cache.of(Machine(data_root="", cache_folder="~/views", cache_gigabytes=1.5))
    assert (cache.folder, cache.limit) == (Path.home() / "views/views", 1_500_000_000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert Cache.of(Machine(data_root="")).folder.parts[-2:] == ("decant", "views")
