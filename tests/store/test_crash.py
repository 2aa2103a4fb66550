"""Dumps that are killed, starved of space or run at the same time: the store ends as it should.

The dump is the real stage in a process of its own (`stage_runner`).
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from stage_runner import ROOT, StageRunner
from store_samples import tree

from pipeline.core.asked_dataset import channel_statistics
from pipeline.core.dataset import Split, fingerprint, save_prepared
from pipeline.store.format.manifest import TOLERANCE
from pipeline.store.read import open_store
from pipeline.tools.verify import verify_store

IMAGES, TEST_IMAGES = 64, 24
VIEWS = 3
PARTS = 2 + 2 * VIEWS  # two clean splits, plain views, mixed views
STORE = Path("data/stores/resnet8.zarr")
yaml = YAML(typ="safe")


def params(**changes):
    content = yaml.load(ROOT / "profiles" / "digits.yaml")
    content["machine"].update(device="cpu", threads=1)
    content["training"]["epochs"] = 1
    content["teachers"] = {"resnet8": {"network": "resnet8", "seed": 0}}
    views = {"views": VIEWS, "draw": "stratified", "features": True}
    dump = {"seed": 0, "batch_size": 32, "plain": views, "mixed": {**views, "alpha": 1.0}}
    content["dumps"] = {"resnet8": {**dump, **changes}}
    return content


def set_params(folder, **changes):
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params(**changes), file)


def views(count, **changes):
    """The dump's two groups with another number of views."""
    plain = {"views": count, "draw": "stratified", "features": True, **changes}
    return {"plain": plain, "mixed": {**plain, "alpha": 1.0}}


@pytest.fixture(scope="module")
def runner():
    with StageRunner() as started:
        yield started


@pytest.fixture(scope="module")
def trained(runner, digits, tmp_path_factory):
    """A project with prepared data and a teacher, and nothing dumped."""
    folder = tmp_path_factory.mktemp("trained")
    train = Split(digits.train.images[:IMAGES].copy(), digits.train.labels[:IMAGES].copy())
    test = Split(digits.test.images[:TEST_IMAGES].copy(), digits.test.labels[:TEST_IMAGES].copy())
    digest = fingerprint(train, test, digits.class_names)
    mean, std = channel_statistics(train.images)
    data = replace(digits, train=train, test=test, mean=mean, std=std, fingerprint=digest)
    save_prepared(data, folder / "data/prepared")
    set_params(folder)
    done = runner.run(folder, "train_teacher", "resnet8")
    assert done.code == 0, done.output
    shutil.rmtree(folder / "data/.work")
    return folder


@pytest.fixture
def project(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(scope="module")
def reference(runner, trained, tmp_path_factory):
    """The store of a dump that nothing disturbs, how long it took, and its file operations."""
    folder = tmp_path_factory.mktemp("reference") / "project"
    shutil.copytree(trained, folder)
    done = runner.run(folder, "dump", "resnet8")
    assert done.code == 0, done.output
    assert done.computed == PARTS
    shutil.rmtree(folder / "data/.work")
    shutil.rmtree(folder / "data/stores")
    began = time.monotonic()
    done = runner.run(folder, "dump", "resnet8")
    seconds = time.monotonic() - began
    assert verify_store(folder / STORE, deep=True) == []
    return tree(folder / STORE), seconds, done.operations


def published(project):
    """The published store's files; None where there is none."""
    return tree(project / STORE) if (project / STORE).exists() else None


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_kills_at_random_instants_leave_no_trace(runner, trained, reference, tmp_path, kills):
    store, seconds, _ = reference
    rng = random.Random(kills)
    done, trials, computed = 0, 0, 0
    while done < kills:
        trials += 1
        project = tmp_path / f"project-{trials}"
        shutil.copytree(trained, project)
        killed = 0
        while True:
            instant = rng.uniform(0, seconds) if done + killed < kills else None
            ended = runner.run(project, "dump", "resnet8", kill_after=instant)
            computed += ended.computed
            assert published(project) in (None, store)
            if not ended.killed:
                break
            killed += 1
        assert ended.code == 0, ended.output
        assert published(project) == store
        assert not list((project / "data").rglob(".tmp-*"))
        done += killed
        shutil.rmtree(project)
        assert computed <= trials * PARTS + done  # each kill costs the part in flight at most
    print(f"{done} kills in {trials} dumps, {computed - trials * PARTS} parts computed twice")


def published_after(steps, operations):
    """Of all file operations those of publishing: from the first hard link on."""
    first = operations.index("link")
    return [number for number in steps if number >= first]


@pytest.mark.timeout(3600)  # on a busy machine
@pytest.mark.parametrize("every", [47, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_at_the_steps_of_publishing_leave_the_old_store_or_the_new(
    runner, trained, reference, tmp_path, every
):
    store, _, _ = reference
    finished = tmp_path / "finished"
    shutil.copytree(trained, finished)
    set_params(finished, **views(VIEWS - 1))
    assert runner.run(finished, "dump", "resnet8").code == 0
    old = published(finished)
    set_params(finished)
    shutil.copytree(finished, tmp_path / "counted")
    operations = runner.run(tmp_path / "counted", "dump", "resnet8").operations
    assert published(tmp_path / "counted") == store
    publishing = published_after(range(len(operations)), operations)
    renames = [number for number in publishing if operations[number] == "rename"]
    assert len(renames) == 2
    absent = 0
    steps = sorted({*publishing[::every], *renames, renames[-1] + 1})
    for step in steps:
        project = tmp_path / f"killed-{step}"
        shutil.copytree(finished, project)
        ended = runner.run(project, "dump", "resnet8", kill_at=step)
        assert ended.killed, step
        found = published(project)
        assert found in (old, store, None), step
        absent += found is None
        ended = runner.run(project, "dump", "resnet8")
        assert (ended.code, ended.computed) == (0, 0), ended.output
        assert published(project) == store, step
        assert not list((project / "data").rglob(".tmp-*"))
        assert not list((project / "data/.work").glob("*/publish"))
        shutil.rmtree(project)
    assert absent == 1  # only between the two renames is there nothing to read
    print(f"killed at {len(steps)} of {len(publishing)} steps of publishing")


@pytest.mark.parametrize("every", [83, pytest.param(4, marks=pytest.mark.slow)])
def test_kills_at_the_steps_of_writing_cost_one_part_each(
    runner, trained, reference, tmp_path, every
):
    store, _, operations = reference
    first = operations.index("link")
    assert first > 100
    steps = range(every // 2, first, every)
    for step in steps:
        project = tmp_path / f"killed-{step}"
        shutil.copytree(trained, project)
        killed = runner.run(project, "dump", "resnet8", kill_at=step)
        assert killed.killed, step
        assert published(project) is None
        ended = runner.run(project, "dump", "resnet8")
        assert ended.code == 0, ended.output
        assert killed.computed + ended.computed <= PARTS + 1, step
        assert published(project) == store, step
        shutil.rmtree(project)
    print(f"killed at {len(steps)} of {first} file operations of writing")


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own of `size` bytes."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts no file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def inputs_of(trained):
    """Options that take a dump's inputs from another folder."""
    return "--prepared", trained / "data/prepared", "--teachers", trained / "data/teachers"


def test_a_full_disk_is_told_and_the_dump_goes_on_when_there_is_room(
    runner, trained, reference, tmp_path
):
    store = reference[0]
    disk_bytes = 2**20
    with small_disk(tmp_path / "disk", disk_bytes) as disk:
        for room in (0, 24, 60, 100, 150):  # KiB: it fills up earlier or later
            for leftover in disk.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            set_params(disk)
            (disk / "data").mkdir()
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
            (disk / "ballast").write_bytes(b"x" * max(0, free - room * 1024))
            command = ["dump", "resnet8", *inputs_of(trained)]
            full = runner.run(disk, *command)
            (disk / "ballast").unlink()
            assert full.code == 1, (room, full.output)
            assert published(disk) is None
            ended = runner.run(disk, *command)
            assert ended.code == 0, ended.output
            assert full.computed + ended.computed <= PARTS + 1
            assert published(disk) == store


def test_a_full_disk_is_told_in_words(trained, tmp_path):
    with small_disk(tmp_path / "disk", 2**17) as disk:
        set_params(disk)
        inputs = [str(part) for part in inputs_of(trained)]
        done = subprocess.run(
            [sys.executable, "-m", "stages.dump", "resnet8", *inputs],
            cwd=disk,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "the disk is full: free some space and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_disk_is_told_and_the_dump_goes_on_when_it_is_not(
    runner, trained, reference, tmp_path
):
    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

    with small_disk(tmp_path / "disk", 2**21) as disk:
        set_params(disk)
        command = ["dump", "resnet8", *inputs_of(trained)]
        half = len(reference[2]) // 2
        killed = runner.run(disk, *command, kill_at=half)
        assert killed.killed
        remount("ro")
        refused = runner.run(disk, *command)
        assert refused.code == 1
        assert "the file system is read-only: make it writable" in refused.output
        assert "Traceback" not in refused.output
        remount("rw")
        ended = runner.run(disk, *command)
        assert ended.code == 0, ended.output
        assert killed.computed + refused.computed + ended.computed <= PARTS + 1
        assert published(disk) == reference[0]


# As root, who may write everywhere, a process becomes somebody else first. Its folder is already its
# working directory, so that it may lie in folders which that user cannot enter.
WITHOUT_PERMISSION = """
import os
from pathlib import Path
from pipeline.core.files import StorageError, WorkFolder
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    WorkFolder(Path("data/.work"), "key").__enter__()
except StorageError as error:
    print(error)
"""


def test_a_folder_without_permission_is_told(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o555)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PERMISSION],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no permission: make the folder writable for you" in done.stdout, done.stderr


@contextlib.contextmanager
def halted_dump(runner, project):
    """A dump that is stopped (SIGSTOP) in the middle of its work."""
    child = runner.start(project, "dump", "resnet8")
    deadline = time.monotonic() + 60
    while not list((project / "data/.work").glob("*/plain/logits/c.1.*")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGSTOP)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGCONT)


def test_of_two_dumps_one_works_and_the_other_says_who(runner, project, reference):
    with halted_dump(runner, project) as holder, StageRunner() as other:
        refused = other.run(project, "dump", "resnet8")
        assert refused.code == 75
        who = f"process {holder.pid} on {socket.gethostname()} (stages.dump resnet8)"
        assert f"in use by {who}" in refused.output
        assert "Wait for it or stop it, then run the same command again" in refused.output
        assert "Traceback" not in refused.output
        assert refused.computed == 0
    ended = holder.end()
    assert ended.code == 0, ended.output
    assert published(project) == reference[0]


def test_a_lock_that_a_kill_left_behind_blocks_nobody(runner, project, reference):
    with halted_dump(runner, project) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        killed = holder.end()
    assert killed.killed
    locks = list((project / "data/.work").glob("*/lock"))
    assert any(f'"pid": {holder.pid},' in lock.read_text() for lock in locks)
    ended = runner.run(project, "dump", "resnet8")
    assert ended.code == 0, ended.output
    assert killed.computed + ended.computed <= PARTS + 1
    assert published(project) == reference[0]


@pytest.mark.slow
def test_two_dumps_that_start_together_never_spoil_the_store(runner, trained, reference, tmp_path):
    rng = random.Random(0)
    codes = []
    with StageRunner() as other:
        for number in range(20):
            project = tmp_path / f"project-{number}"
            shutil.copytree(trained, project)
            first = runner.start(project, "dump", "resnet8")
            if number % 2:  # else at once, so that they meet however fast the machine is
                time.sleep(rng.uniform(0, reference[1]))
            second = other.start(project, "dump", "resnet8")
            ended = [first.end(), second.end()]
            codes.append([one.code for one in ended])
            assert 0 in codes[-1], [one.output for one in ended]
            assert published(project) == reference[0]
            shutil.rmtree(project)
    assert any(75 in pair for pair in codes)
    print(f"codes of pairs of dumps: {codes}")


def test_views_may_be_computed_in_any_number_of_runs(runner, project, reference):
    """Other processes, one after the other, each with views more; the first ones in another order."""
    computed = 0
    for count in (2, 1, VIEWS):
        set_params(project, **views(count))
        ended = runner.run(project, "dump", "resnet8")
        assert ended.code == 0, ended.output
        computed += ended.computed
    assert computed == PARTS
    assert published(project) == reference[0]


@pytest.mark.parametrize("gone", [(0,), (0, 1)])
def test_views_may_be_computed_after_later_ones(runner, project, reference, gone):
    """Views that vanish from the work folder come back, whatever was computed before them."""
    assert runner.run(project, "dump", "resnet8").code == 0
    shutil.rmtree(project / "data/stores")
    for group in ("plain", "mixed"):
        for v in gone:
            (logits,) = (project / "data/.work").glob(f"*/{group}/logits/c.{v}.0.0")
            logits.unlink()
    ended = runner.run(project, "dump", "resnet8")
    assert (ended.code, ended.computed) == (0, 2 * len(gone)), ended.output
    assert published(project) == reference[0]


# Gives its process another host name, where that is allowed, and runs the dump.
ON_ANOTHER_HOST = """
import ctypes, runpy, socket, sys
if ctypes.CDLL(None).unshare(0x04000000) == 0:
    socket.sethostname("elsewhere")
sys.argv[1:] = ["resnet8"]
runpy.run_module("stages.dump", run_name="__main__")
"""


def test_bytes_depend_on_nothing_of_the_host(trained, reference, tmp_path):
    """Another folder, host name, time zone, locale, umask, hash seed and home."""
    project = tmp_path / "another name, with spaces and ümlauts" / "deep"
    shutil.copytree(trained, project)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "12345",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "HOME": str(tmp_path),
        "USER": "somebody",
        "SOURCE_DATE_EPOCH": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_HOST],
        cwd=project,
        env=environment,
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert published(project) == reference[0]


def test_another_batch_size_changes_roundings_and_no_plan(runner, project, reference):
    set_params(project, batch_size=50)
    ended = runner.run(project, "dump", "resnet8")
    assert ended.code == 0, ended.output
    found, expected = published(project), reference[0]
    assert found.keys() == expected.keys()
    differing = {name for name in found if found[name] != expected[name]}
    values = ("/logits/c.", "/features/c.")
    assert {f"{group}/manifest.json" for group in ("clean", "plain", "mixed")} <= differing
    assert all(any(kind in name for kind in values) for name in differing if "json" not in name)
    one = open_store(project / STORE, groups=["plain", "mixed"])
    project.joinpath("other.zarr").mkdir()
    for name, data in expected.items():
        path = project / "other.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    other = open_store(project / "other.zarr", groups=["plain", "mixed"])
    for group in ("plain", "mixed"):
        for v in range(VIEWS):
            mine, theirs = one.group(group).logits(v), other.group(group).logits(v)
            difference = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
            # One unit in the last place of a float16, which a float32 rounding can move.
            assert np.all(difference <= np.spacing(np.maximum(np.abs(mine), np.abs(theirs))))
            assert difference.max() <= TOLERANCE
