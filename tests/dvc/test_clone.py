"""What `decant repro` finds missing or outdated in a clone, told from dvc.lock, cache and disk."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from store_samples import make_store

from pipeline.store.format.layout import GROUPS
from pipeline.store.format.version import write_versions
from stages.commands.repro import repro
from stages.dvc import outdated, reproduce, upstream
from stages.dvc.clone import Clone
from stages.dvc.lock import Lock, digest_of, read_listing
from stages.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
MD5 = {
    "data/prepared": "aa1.dir",
    "data/stores/resnet20.zarr": "bb2.dir",
    "data/students/s": "cc3.dir",
}
STAGES = {
    "prepare": "data/prepared",
    "dump@resnet20": "data/stores/resnet20.zarr",
    "train_student@s": "data/students/s",
}
PARAMS = {
    "dumps": {"resnet20": {}},
    "students": {"s": {"store": "resnet20.zarr/plain"}, "both": {"store": "resnet20.zarr"}},
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with nothing but git's part: dvc.lock, params.yaml and the store's versions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(upstream, "cache_folder", lambda: Path("shared-cache"))
    # Its parameters are those that DVC reads here, and no more.
    monkeypatch.setattr(reproduce, "check_all", lambda content, source: None)
    store = make_store(tmp_path, views=1)
    write_versions(store, GROUPS, Path("data/versions/resnet20.zarr"))
    stages = {
        name: {"cmd": "x", "outs": [{"path": path, "md5": MD5[path]}]}
        for name, path in STAGES.items()
    }
    stages["dump@resnet20"]["outs"].append(
        {"path": "data/versions/resnet20.zarr", "md5": "dd4.dir"}
    )
    stages["train_student@gone"] = {
        "cmd": "x",
        "outs": [{"path": "data/students/gone", "md5": "ee"}],
    }
    version = Path("data/versions/resnet20.zarr/plain")
    md5 = hashlib.md5(version.read_bytes()).hexdigest()
    stages["train_student@s"]["deps"] = [{"path": str(version), "md5": md5}]
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    with Path("params.yaml").open("w") as file:
        YAML().dump(PARAMS, file)
    return store


def lock():
    return Lock(Path.cwd(), PARAMS)


def cached(name, folder=".dvc/cache"):
    path = Path(folder, "files/md5", MD5[name][:2], MD5[name][2:])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[]")


def test_a_clone_lacks_what_no_cache_holds(clone):
    assert set(map(str, upstream.lacking(lock()))) == set(MD5)
    cached("data/prepared")
    cached("data/stores/resnet20.zarr", "shared-cache")
    assert upstream.lacking(lock()) == {Path("data/students/s"): "train_student@s"}
    cached("data/students/s", "shared-cache")
    assert upstream.lacking(lock()) == {}


def test_nothing_on_disk_is_nothing_outdated(clone):
    assert outdated.outdated(lock(), upstream.lacking(lock()), []) == []


def test_old_results_on_disk_are_named(clone):
    Path("data/prepared").mkdir()
    Path("data/students/s").mkdir(parents=True)
    lacks = upstream.lacking(lock())
    assert outdated.outdated(lock(), lacks, []) == ["data/prepared", "train_student@s"]
    assert outdated.outdated(lock(), lacks, ["train_student@s"]) == [
        "data/prepared",
        "train_student@s",
    ]
    assert outdated.outdated(lock(), lacks, ["train_student@both"]) == ["data/prepared"]


def put(store, *groups):
    target = Path("data/stores/resnet20.zarr")
    target.mkdir(parents=True, exist_ok=True)
    for group in groups:
        (store / group).rename(target / group)
    return target


def test_a_store_in_part_is_fetched_for_students_of_both_groups(clone):
    put(clone, "plain")
    lacks = upstream.lacking(lock())
    store = ["data/stores/resnet20.zarr"]
    assert outdated.outdated(lock(), lacks, ["train_student@s"]) == []
    assert outdated.outdated(lock(), lacks, ["train_student@both"]) == store
    assert outdated.outdated(lock(), lacks, ["train_student"]) == store
    assert outdated.outdated(lock(), lacks, ["train_teacher@t"]) == []


def test_a_store_that_the_cache_has_whole_is_never_here_in_part(clone):
    """DVC would take the part for a change, and dump again."""
    params = PARAMS | {"students": {"mine": {"store": "resnet20.zarr/plain"}}}

    def fetched():
        return Clone(Lock(Path.cwd(), params), ["train_student@mine"]).wanted()[0]

    assert fetched() == ["prepare", "data/stores/resnet20.zarr/plain"]
    cached("data/stores/resnet20.zarr")
    assert fetched() == ["prepare", "dump@resnet20"]
    put(clone, "plain")
    lacks = upstream.lacking(lock())
    assert outdated.outdated(lock(), lacks, ["train_student@s"]) == ["data/stores/resnet20.zarr"]


def test_a_stale_store_is_fetched(clone):
    put(clone, *GROUPS, "zarr.json")
    assert outdated.outdated(lock(), {}, []) == []
    assert lock().state("train_student@s") == "elsewhere"
    version = Path("data/versions/resnet20.zarr/plain")
    facts = json.loads(version.read_text())
    facts["teacher"]["weights_sha256"] = "0" * 64
    version.write_text(json.dumps(facts))
    digest_of.cache_clear()  # of one process, in which files of a commit do not change
    stores = ["data/stores/resnet20.zarr/plain", "data/stores/resnet20.zarr"]
    assert outdated.outdated(lock(), {}, []) == stores
    (Path("data/stores/resnet20.zarr/plain/manifest.json")).write_text("{}")
    assert (
        outdated.outdated(lock(), {}, ["train_student@s"]) == []
    )  # the stage tells what is damaged


def test_a_folder_that_the_cache_has_in_part_is_lacking(clone):
    cached("data/prepared")
    listing = Path(".dvc/cache/files/md5/aa/1.dir")
    assert upstream.is_whole(Path(".dvc/cache/files/md5"), "aa1.dir")
    listing.write_text('[{"relpath": "x", "md5": "ff00"}]')
    read_listing.cache_clear()
    assert not upstream.is_whole(Path(".dvc/cache/files/md5"), "aa1.dir")
    Path(".dvc/cache/files/md5/ff").mkdir()
    Path(".dvc/cache/files/md5/ff/00").touch()
    assert upstream.is_whole(Path(".dvc/cache/files/md5"), "aa1.dir")


def test_missing_raw_data_say_that_a_clone_needs_none(clone):
    params = {
        "machine": {"data_root": "nowhere"},
        "dataset": {"name": "cifar10", "image_size": 32, "seed": 0},
    }
    with Path("params.yaml").open("w") as file:
        YAML().dump(params, file)
    result = CliRunner(env={"DECANT_DATA": None}).invoke(prepare, [])
    assert result.exit_code == 1
    assert "there is no folder" in result.output
    assert "`decant repro` pulls the results (docs/sharing.md)" in result.output


def test_mistakes_are_told_by_key_before_dvc_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "reproduce", lambda *given: pytest.fail("went on"))
    params = YAML(typ="safe").load(ROOT / "profiles/digits.yaml")
    del params["students"]["kd"]["store"]
    with Path("params.yaml").open("w") as file:
        YAML(typ="safe").dump(params, file)
    result = CliRunner().invoke(repro, [])
    assert result.exit_code == 1
    assert "params.yaml: students.kd.store: missing" in result.output


def test_dvc_reads_one_parameter_file(clone):
    result = CliRunner().invoke(repro, ["--params", "other.yaml"])
    assert result.exit_code == 2
    assert "decant use other.yaml" in result.output
