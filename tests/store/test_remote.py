"""Stores that are read in place: the same numbers as from the disk, or an error in words."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from remote_servers import http_server, s3_server
from store_samples import CLASSES, CODECS, DATASET, IMAGES, make_store, outputs

from pipeline.core.errors import DecantError
from pipeline.store.format import errors
from pipeline.store.format.address import Address
from pipeline.store.format.manifest_text import MAX_MANIFEST_BYTES
from pipeline.store.read import open_store
from pipeline.store.remote.cache import Cache

pytest.importorskip("obstore")
from pipeline.store.remote import objects

ROOT = Path(__file__).resolve().parents[2]
VIEW = "plain/logits/c.2.0.0"
MB = 10**6


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Clients that wait for little."""
    monkeypatch.setattr(objects, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "SILENCE", timedelta(seconds=0.5))


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


@pytest.fixture
def server(store):
    with http_server(store) as running:
        yield running


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 100 * MB)


def numbers(opened):
    """Every number of a store."""
    for split in ("train", "test"):
        yield opened.clean.logits(split)
        yield opened.clean.features(split)
        yield opened.clean.labels(split)
    for name in ("plain", "mixed"):
        group = opened.group(name)
        for v in range(group.views):
            yield from (array for array in vars(group.plan(v)).values() if array is not None)
            yield group.logits(v)
            yield group.features(v)


def assert_same(first, second):
    pairs = list(zip(numbers(first), numbers(second), strict=True))
    assert len(pairs) > 40
    assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("codec", ["dense", "int8", "topk-zstd"])
def test_the_same_numbers_over_http(tmp_path, cache, codec):
    store = make_store(tmp_path, codec=CODECS[codec])
    groups = ("clean", "plain", "mixed")
    with http_server(store) as server:
        opened = open_store(server.url() + "/", groups=groups, dataset=DATASET, cache=cache)
        assert_same(opened, open_store(store, groups=groups))
        assert set(server.requests.values()) == {1}, "each file is fetched once"
        asked = sum(server.requests.values())
        assert_same(opened, open_store(store, groups=groups))
        assert sum(server.requests.values()) == asked


def test_the_same_numbers_from_s3(store, cache, monkeypatch):
    pytest.importorskip("moto")
    groups = ("clean", "plain", "mixed")
    with s3_server(monkeypatch, store) as put:
        address = "s3://stores/resnet20.zarr"
        opened = open_store(address, groups=groups, dataset=DATASET, cache=cache)
        assert_same(opened, open_store(store, groups=groups))
        put(f"resnet20.zarr/{VIEW}", (store / "plain/logits/c.1.0.0").read_bytes())
        again = open_store(address, groups=["plain"], cache=Cache(cache.folder / "2", MB))
        with pytest.raises(errors.DamagedFileError, match="not those of the manifest"):
            again.group("plain").logits(2)
        with pytest.raises(
            errors.GroupMissingError, match=r"s3://stores/other.zarr/plain: no such"
        ):
            open_store("s3://stores/other.zarr", groups=["plain"], cache=cache)


def test_the_same_numbers_from_google(store, tmp_path, cache, monkeypatch):
    account = {"gcs_base_url": "", "disable_oauth": True, "client_email": "", "private_key": ""}
    with http_server(store) as server:
        server.headers = {"ETag": '"1"', "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
        account |= {"gcs_base_url": server.root, "private_key_id": ""}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        opened = open_store("gs://stores/resnet20.zarr", groups=["plain"], cache=cache)
        assert np.array_equal(opened.group("plain").logits(2), outputs("plain", 2, IMAGES, CLASSES))


def view_2(server, cache):
    return open_store(server.url(), groups=["plain"], cache=cache).group("plain").logits(2)


@pytest.mark.parametrize("fault", [500, 503, 429, "truncated", "stalled", "silent"])
@pytest.mark.parametrize("path", [VIEW, "plain/manifest.json"])
def test_a_passing_fault_costs_an_attempt(server, cache, fault, path):
    server.faults[path] = [fault]
    assert np.array_equal(view_2(server, cache), outputs("plain", 2, IMAGES, CLASSES))
    assert server.requests[path] == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (500, "the server says 500"),
        ("truncated", "broke off"),
        ("stalled", "stopped answering"),
        ("silent", "stopped answering"),
    ],
)
def test_a_lasting_fault_ends_in_words(server, cache, fault, words):
    server.faults[VIEW] = [fault] * 10
    with pytest.raises(errors.UnreachableError, match=f"{words} .4 attempts") as caught:
        view_2(server, cache)
    assert server.requests[VIEW] == objects.ATTEMPTS
    assert server.url() in str(caught.value)
    assert "no secrets here" not in str(caught.value)


@pytest.mark.parametrize(("fault", "kind"), [(401, "Forbidden"), (403, "Forbidden")])
def test_what_is_forbidden_is_not_asked_for_again(server, cache, fault, kind):
    server.faults[VIEW] = [fault] * 10
    with pytest.raises(errors.ForbiddenError, match="credentials are in the environment"):
        view_2(server, cache)
    assert server.requests[VIEW] == 1


@pytest.mark.parametrize("path", [VIEW, "plain/manifest.json"])
def test_a_body_of_another_length_than_announced_is_refused(server, cache, path):
    length = len(server.files[f"/stores/resnet20.zarr/{path}"])
    for size in (length - 1, length + 1):
        server.faults[path] = [("chunked", size)] * 10
        with pytest.raises(errors.WrongSizeError, match=f"announces {length:,} bytes and sends"):
            view_2(server, cache)


def test_a_body_without_an_end_is_not_received(server, cache):
    server.faults["zarr.json"] = [("chunked", 2**28)]
    with pytest.raises(errors.WrongSizeError, match="and sends more"):
        view_2(server, cache)
    assert server.sent < 2**26


def test_an_unknown_host_and_a_closed_port(server, cache):
    for url in ("http://127.0.0.1:9/T.zarr", "http://no-such-host.invalid/T.zarr"):
        with pytest.raises(errors.UnreachableError, match=r"no connection .4 attempts"):
            open_store(url, groups=["plain"], cache=cache)


def other_view(files, path):
    return files[path.replace("c.2.", "c.1.")]


DAMAGES = {
    "flipped": (lambda files, path: bytes([files[path][0] ^ 1]) + files[path][1:], "not those"),
    "swapped": (other_view, "not those of the manifest"),
    "short": (lambda files, path: files[path][:-5], "bytes, expected"),
    "empty": (lambda files, path: b"", "0 bytes, expected"),
    "long": (lambda files, path: files[path] + b"x", "bytes, at most"),
    "missing": (lambda files, path: None, "missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [VIEW, "plain/crop_yx/c.0.0.0"])
def test_no_wrong_number_is_read(server, cache, damage, name):
    path = f"/stores/resnet20.zarr/{name}"
    change, words = DAMAGES[damage]
    if damage == "swapped" and name != VIEW:
        change = lambda files, path: files[path.replace("plain", "mixed")]  # noqa: E731
    good = server.files[path]
    changed = change(server.files, path)
    server.files.pop(path) if changed is None else server.files.update({path: changed})
    group = open_store(server.url(), groups=["plain"], cache=cache).group("plain")
    read = group.logits if name == VIEW else group.plan
    with pytest.raises(errors.StoreError, match=words) as caught:
        read(2)
    assert server.url() + "/" + name in str(caught.value)
    assert "decant store pin" in str(caught.value)
    server.files[path] = good
    assert np.array_equal(group.logits(2), outputs("plain", 2, IMAGES, CLASSES))


def test_a_store_that_changes_after_it_was_opened(server, cache, tmp_path):
    group = open_store(server.url(), groups=["plain"], cache=cache).group("plain")
    assert np.array_equal(group.logits(0), outputs("plain", 0, IMAGES, CLASSES))
    other = make_store(tmp_path / "other", codec=CODECS["int8"])
    for path in other.rglob("*"):
        if path.is_file():
            name = path.relative_to(other).as_posix()
            server.files[f"/stores/resnet20.zarr/{name}"] = path.read_bytes()
    with pytest.raises(errors.ChangedStoreError, match=r"has changed: .*pinned or opened"):
        group.logits(2)
    for path in list(server.files):
        del server.files[path]
    with pytest.raises(errors.ChangedStoreError, match="is gone now"):
        group.logits(3)
    assert np.array_equal(group.logits(0), outputs("plain", 0, IMAGES, CLASSES)), "from the cache"


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("plain/manifest.json", lambda data: data.replace(b"resnet20", b"resnet21"), "Manifest"),
        ("plain/manifest.json", lambda data: b" " * (MAX_MANIFEST_BYTES + 1), "WrongSize"),
        ("plain/manifest.json", lambda data: b"<html>Sign in</html>", "Manifest"),
        ("zarr.json", lambda data: data.replace(b'"schema": 1', b'"schema": 9'), "Schema"),
        ("zarr.json", lambda data: b"<html>Sign in</html>", "Metadata"),
    ],
)
def test_manifests_are_believed_no_more_than_on_a_disk(server, cache, name, change, kind):
    path = f"/stores/resnet20.zarr/{name}"
    server.files[path] = change(server.files[path])
    with pytest.raises(getattr(errors, f"{kind}Error")):
        open_store(server.url(), groups=["plain"], cache=cache)


def test_another_data_set_is_refused(server, cache):
    from dataclasses import replace

    other = replace(DATASET, fingerprint="ef" * 32)
    with pytest.raises(errors.DatasetMismatchError, match="dvc pull --force data/prepared") as told:
        open_store(server.url(), groups=["plain"], dataset=other, cache=cache)
    assert "dump@" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:TOPSECRET@host/T.zarr",
        "https://TOPSECRET@host/T.zarr",
        "s3://TOPSECRET:TOPSECRET@bucket/T.zarr",
        "https://host/T.zarr?X-Amz-Signature=TOPSECRET",
        "https://host/T.zarr#TOPSECRET",
        "https://host:TOPSECRET/T.zarr",
        "https://[TOPSECRET/T.zarr",
    ],
)
def test_addresses_with_secrets_are_refused_and_not_repeated(url):
    with pytest.raises(DecantError) as caught:
        open_store(url, groups=["plain"])
    assert "TOPSECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    ["ftp://host/T.zarr", "s3:///T.zarr", "http://host", "file:///T.zarr", "s3://b/../T.zarr"],
)
def test_what_is_no_address(url):
    with pytest.raises(DecantError, match=r"expected s3://BUCKET/NAME.zarr"):
        open_store(url, groups=["plain"])


def test_parts_of_an_address():
    address = Address.parse("s3://bucket/team/T.zarr/")
    assert (address, address.name, address.stem) == ("s3://bucket/team/T.zarr", "T.zarr", "T")
    assert address / "plain/logits" == "s3://bucket/team/T.zarr/plain/logits"
    assert Address.parse("HTTPS://Host/T.zarr/") == "https://Host/T.zarr"


def test_secrets_of_the_environment_reach_no_message(cache, monkeypatch, store):
    pytest.importorskip("moto")
    with s3_server(monkeypatch, store):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(errors.UnreachableError) as caught:
            open_store("s3://stores/resnet20.zarr", groups=["plain"], cache=cache)
        assert "A-SECRET" not in str(caught.value)


def test_without_the_extra_the_message_names_it(store):
    code = (
        "import sys; sys.modules['obstore'] = None; sys.modules['obstore.exceptions'] = None\n"
        "from pipeline.store.read import open_store\n"
        f"open_store(__import__('pathlib').Path({str(store)!r}), groups=['plain'])\n"
        "open_store('s3://bucket/T.zarr', groups=['plain'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DecantError: reading a store from a bucket" in done.stderr
    assert "pip install -e '.[remote]'" in done.stderr
