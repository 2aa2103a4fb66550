"""Pinned stores: manifests here, views elsewhere; every command and stage takes them for what they are."""

import contextlib
import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from project_samples import ROOT, Project, new_project, small_params
from remote_servers import http_server, s3_server
from safetensors.numpy import load_file
from store_samples import CODECS, DATASET, make_store, tree

from decant.store import open as open_any
from pipeline.core.errors import DecantError
from pipeline.core.params import ParamsError
from pipeline.distill import students
from pipeline.planning.checker import check_all
from pipeline.store.format import errors
from pipeline.store.format.version import write_versions
from pipeline.tools.describe import inspect_stores
from pipeline.tools.pin import with_address
from stages.cli import main

pytest.importorskip("obstore")
from pipeline.store.remote import objects

T = "resnet20"
PINNED = Path(f"data/stores/{T}.zarr")
VERSIONS = Path(f"data/versions/{T}.zarr")
TEXT = """\
# A study.
machine: {data_root: raw, cache_folder: cache}   # here
students:
  s: {store: resnet20.zarr/plain, share: 0.0}

dumps: {other: {}}
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store that lies elsewhere, and a project that knows nothing of it."""
    monkeypatch.setattr(objects, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(objects, "SILENCE", timedelta(seconds=0.5))
    store = make_store(tmp_path / "elsewhere")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    Path("params.yaml").write_text(TEXT)
    return store


@pytest.fixture
def server(store):
    with http_server(store) as running:
        yield running


def decant(*arguments, code=0):
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def pinned(server):
    decant("store", "pin", T, server.url())
    server.requests.clear()
    return server


def test_metadata_and_manifests_are_fetched_and_the_address_written(store, server):
    output = decant("store", "pin", f"{T}.zarr", server.url() + "/")
    good = tree(store)
    names = {name for name in good if name.endswith(".json")}
    assert tree(PINNED) == {name: good[name] for name in names}
    assert not any("/c." in name for name in server.requests)
    write_versions(store, ("clean", "plain", "mixed"), Path("expected"))
    assert tree(VERSIONS) == tree(Path("expected"))
    assert Path("params.yaml").read_text() == (
        TEXT + f"\nremote_stores:\n  resnet20: {server.url()}\n"
    )
    assert "Students that the next `decant repro` trains from it: s" in output
    assert f"git add --force {PINNED}" in output
    assert not any(Path("data/.work").iterdir())


def test_the_pin_moves_by_the_command_alone(store, pinned, tmp_path):
    before = tree(Path("data"))
    assert "It is the store that was pinned before" in decant("store", "pin", T, pinned.url())
    assert tree(Path("data")) == before
    other = make_store(tmp_path / "other", codec=CODECS["int8"])
    with http_server(other) as moved:
        output = decant("store", "pin", T, moved.url())
        assert "s\n" in output
        assert tree(PINNED)["plain/manifest.json"] == tree(other)["plain/manifest.json"]
        assert Path("params.yaml").read_text().count("resnet20: http") == 1
        assert moved.url() in Path("params.yaml").read_text()


def test_what_is_edited_while_the_server_answers_stays(server):
    params, answer = Path("params.yaml"), server.answer
    edited = TEXT + "# Edited.\nmore: {a: 1}\n"

    def answer_late(request):
        params.write_text(edited)
        answer(request)

    server.answer = answer_late
    decant("store", "pin", T, server.url())
    assert params.read_text() == edited + f"\nremote_stores:\n  resnet20: {server.url()}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", "a: 1\n\nremote_stores:\n  t: s3://b/t\n"),
        (
            "remote_stores:\n  # ours\n  x: s3://b/x  # far\n",
            "remote_stores:\n  # ours\n  t: s3://b/t\n  x: s3://b/x  # far\n",
        ),
        (
            "remote_stores:\n  t: s3://b/old  # far\nb: 2\n",
            "remote_stores:\n  t: s3://b/t  # far\nb: 2\n",
        ),
        ("remote_stores:\n    t: 's3://b/old'\n", "remote_stores:\n    t: 's3://b/t'\n"),
        ("remote_stores: {t: s3://b/old}  # all\n", "remote_stores: {t: s3://b/t}  # all\n"),
    ],
)
def test_params_yaml_changes_in_one_place(text, expected):
    assert with_address(text, "t", "s3://b/t") == expected


@pytest.mark.parametrize(
    "text",
    [
        "remote_stores: {}\n",
        "remote_stores: {x: s3://b/x}\n",
        "remote_stores:\n  t:\n",
        "remote_stores: [t]\n",
        "remote_stores: text\n",
        "remote_stores:\n  t: 3\n",
    ],
)
def test_what_only_a_hand_can_change_is_said(text):
    with pytest.raises(ParamsError, match="write s3://b/t there by hand"):
        with_address(text, "t", "s3://b/t")


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        (T, "https://me:TOPSECRET@host/T.zarr", "credentials in environment variables"),
        (T, "https://host/T.zarr?X-Amz-Signature=TOPSECRET", "credentials in environment"),
        (T, "/srv/T.zarr", "expected s3://BUCKET"),
        ("other", "s3://bucket/T.zarr", "dumps.other: the store is made here"),
        ("Résumé", "s3://bucket/T.zarr", "names consist of"),
        ("../x", "s3://bucket/T.zarr", "names consist of"),
        (T, "http://127.0.0.1:9/T.zarr", "no connection"),
    ],
)
def test_a_refused_pin_changes_nothing(store, name, url, words):
    before = tree(Path())
    output = decant("store", "pin", name, url, code=1)
    assert words in output
    assert "TOPSECRET" not in output
    assert tree(Path()) == before


def test_views_that_are_here_are_not_thrown_away(store, server):
    shutil.copytree(store, PINNED)
    assert "holds views" in decant("store", "pin", T, server.url(), code=1)
    assert tree(PINNED) == tree(store)


def test_a_damaged_manifest_and_an_empty_address_are_not_pinned(server):
    path = "/stores/resnet20.zarr/mixed/manifest.json"
    server.files[path] = server.files[path].replace(b"0", b"1")
    assert "digest does not match" in decant("store", "pin", T, server.url(), code=1)
    assert "no such group" in decant("store", "pin", T, server.root + "/nothing", code=1)
    assert not PINNED.exists()


def test_a_part_of_a_store_that_forbids_what_is_not_there(server):
    for group in ("clean", "mixed"):
        server.faults[f"{group}/manifest.json"] = [403]
    decant("store", "pin", T, server.url())
    assert sorted(path.name for path in PINNED.iterdir()) == ["plain", "zarr.json"]


def test_store_commands_read_a_pinned_store(store, pinned):
    output = decant("store", "info", T)
    assert "complete" in output
    assert pinned.url() in output
    assert "in place" in decant("store", "ls")
    facts = json.loads(decant("store", "info", T, "--json"))
    assert (facts["address"], facts["problems"]) == (pinned.url(), [])
    assert not pinned.requests
    decant("store", "export", T, "--group", "plain", "--out", "npz")
    decant("store", "diff", str(store), T)
    assert (Path("cache/views")).is_dir(), "machine.cache_folder"
    assert "read in place at" in decant("store", "mend", T, code=1)
    assert "read in place" in decant("store", "extend", T, "--views", "9", code=1)


def test_verify_fetches_everything(store, pinned):
    output = decant("store", "verify", T)
    assert f"the sha256 of every file, fetched from {pinned.url()}" in output
    views = {name for name in tree(store) if "/c." in name}
    assert views <= pinned.requests.keys()
    assert not Path("cache").exists()
    path = "/stores/resnet20.zarr/mixed/logits/c.1.0.0"
    pinned.files[path] = pinned.files[path.replace("c.1", "c.2")]
    del pinned.files["/stores/resnet20.zarr/plain/features/zarr.json"]
    output = decant("store", "verify", T, code=1)
    assert "BAD, 2 problems" in output
    assert "mixed/logits/c.1.0.0: its bytes are not those of the manifest" in output
    assert "plain/features/zarr.json: missing" in output
    assert "dvc repro" not in output


def test_a_pinned_store_that_is_not_here_is_pinned_again(pinned):
    """A teammate committed the address, and forgot the manifests."""
    shutil.rmtree(PINNED)
    output = decant("store", "info", T, code=1)
    assert f"decant store pin {T} {pinned.url()}" in output
    assert "dvc " not in output


def test_what_is_wrong_here_is_mended_from_git_or_the_address(store, pinned):
    (PINNED / "plain/manifest.json").write_text("{}")
    (PINNED / "clean/zarr.json").unlink()
    output = decant("store", "verify", T, code=1)
    assert f"git checkout {PINNED}" in output
    assert f"decant store pin {T} {pinned.url()}" in output
    assert "dvc " not in output


def open_student(groups=("plain",)):
    content = {"machine": {"data_root": ""}, "remote_stores": {}}
    text = Path("params.yaml").read_text()
    content["remote_stores"][T] = re.search("resnet20: (http.*)", text)[1]
    content["machine"]["cache_folder"] = "cache"
    return students._open(Path("data/stores"), T, groups, DATASET, content)


def test_a_student_reads_nothing_remotely_before_its_first_epoch(store, pinned):
    opened = open_student(("plain", "mixed"))
    assert not pinned.requests
    assert np.array_equal(
        opened.group("plain").logits(1),
        students.open_store(store, groups=["plain"]).group("plain").logits(1),
    )
    assert set(pinned.requests) == {"plain/logits/c.1.0.0"}


def test_a_student_refuses_another_version(pinned, tmp_path):
    facts = json.loads((VERSIONS / "plain").read_text())
    (VERSIONS / "plain").write_text(json.dumps({**facts, "views": 9}))
    with pytest.raises(errors.StaleStoreError, match="git checkout") as caught:
        open_student()
    assert "dvc" not in str(caught.value)
    shutil.rmtree(PINNED / "mixed")
    with pytest.raises(errors.GroupMissingError, match=f"git checkout {PINNED}") as caught:
        open_student(("plain", "mixed"))
    assert "dvc" not in str(caught.value)


def test_clean_keeps_pinned_stores_and_removes_dropped_ones(pinned):
    decant("clean", "--yes")
    assert PINNED.exists()
    assert VERSIONS.exists()
    Path("params.yaml").write_text(TEXT)
    decant("clean", "--yes")
    assert not PINNED.exists()


def test_check_knows_pinned_stores():
    params = small_params()
    params["students"]["far"] = {**params["students"]["plain"], "store": "far.zarr/plain"}
    with pytest.raises(ParamsError, match="no dump of a teacher far; valid names: resnet8"):
        check_all(params, "params.yaml")
    params["remote_stores"] = {"far": "s3://bucket/far.zarr"}
    check_all(params, "params.yaml")
    params["remote_stores"] |= {"resnet8": "s3://b/x", "BAD": "s3://b/x", "key": "s3://a:PSST@b/x"}
    with pytest.raises(ParamsError) as caught:
        check_all(params, "params.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "PSST" not in str(caught.value)


def test_the_blocks_of_the_page_on_sharing(server, tmp_path):
    page = (ROOT / "docs/sharing.md").read_text()
    pin, share = re.findall(r"^```bash remote\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    project = new_project(tmp_path / "clone", small_params())
    for line in pin.replace("https://stores.example.org/resnet20.zarr", server.url()).splitlines():
        if line.startswith("decant store"):
            project.decant(*line.split()[1:])
    subprocess.run(["bash", "-euc", share], cwd=project.folder, env=project.env, check=True)
    listed = subprocess.run(
        ["git", "ls-files"], cwd=project.folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"{PINNED}/plain/manifest.json" in listed
    assert f"{PINNED}/mixed/logits/zarr.json" in listed
    assert {f"{VERSIONS}/{group}" for group in ("clean", "plain", "mixed")} <= set(listed)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A project that dumped a teacher and trained students from its store, without DVC."""
    params = small_params()
    params["machine"] |= {"workers": 2}
    for student in params["students"].values():
        student["replicates"] = 2
    project = new_project(tmp_path_factory.mktemp("study") / "project", params)
    project.decant("prepare")
    project.decant("train-teacher", "resnet8")
    project.decant("dump", "resnet8")
    project.decant("train-student", "--all")
    shutil.rmtree(project.folder / "data/.work")
    return project


@contextlib.contextmanager
def serving(kind, folder, monkeypatch):
    if kind == "http":
        with http_server(folder) as server:
            yield server.url("resnet8.zarr")
        return
    pytest.importorskip("moto")
    with s3_server(monkeypatch, folder):
        yield "s3://stores/resnet8.zarr"


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_student_of_a_pinned_store_has_the_same_weights(study, tmp_path, monkeypatch, kind):
    """Trained through DVC by two forked processes, in a project that has no teacher."""
    folder = tmp_path / "project"
    params = study.params
    params["dumps"] = params["teachers"] = params["baselines"] = {}
    params["machine"]["cache_folder"] = str(tmp_path / "cache")
    project = new_project(folder, params)
    with serving(kind, study.folder / "data/stores/resnet8.zarr", monkeypatch) as url:
        project = Project(folder)  # whose environment leads to the server
        project.decant("store", "pin", "resnet8", url)
        plan = json.loads(project.decant("plan", "--json", "--rate", "1e12").stdout)
        assert not any("dump" in stage["name"] for stage in plan["stages"])
        done = project.decant("repro", "train_student")
    ran = set(re.findall(r"Running stage '([^']+)'", done.stdout))
    assert ran == {"check", "prepare", "train_student@plain", "train_student@half"}
    for path in sorted((study.folder / "data/students").rglob("weights.safetensors")):
        inside = path.relative_to(study.folder)
        ours, theirs = load_file(path), load_file(folder / inside)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours), inside
    record = (folder / "data/students/plain/record.json").read_text()
    assert "A-SECRET" not in record + (folder / "dvc.lock").read_text()
    # The server is gone, and nothing is to be done.
    again = project.decant("repro", "train_student")
    assert "Running stage" not in again.stdout
    assert project.decant("repro", "--dry", "train_student").stdout == "Everything is up to date\n"
    shutil.rmtree(folder / "data/stores")
    lost = project.decant("repro", "train_student", check=False)
    assert lost.returncode == 1
    assert f"decant store pin resnet8 {url}" in lost.stderr


def test_an_address_that_is_none_is_told_of_its_store_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("remote_stores: {bad: nonsense}\n")
    for name in ("bad", "good"):
        shutil.copytree(make_store(tmp_path / name), f"data/stores/{name}.zarr")
    (bad, _), (good, _) = inspect_stores(Path("data/stores"))
    assert "remote_stores.bad: no address of a store: 'nonsense'" in bad["problems"][0]
    assert (bad["complete"], good["complete"]) == (False, True)
    with pytest.raises(DecantError, match=r"remote_stores\.bad: no address"):
        open_any("bad")
