"""`decant store info`, `ls`, `verify` and `diff`: what they print, and how they end."""

import copy
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from manifest_samples import replace_file, sign, with_crc
from store_samples import (
    CODECS,
    DATASET,
    IMAGES,
    LOSSY,
    TEACHER,
    header,
    make_store,
    plan,
    tree,
    write_group,
)

from pipeline.core.dataset import ImageData, save_prepared
from pipeline.core.files import canonical_json
from pipeline.core.normalisation import Normalisation
from pipeline.dump.dump import dump_group, group_header, groups_of
from pipeline.dump.params import DumpParams, MixedViews, PlainViews
from pipeline.models.network import Network
from pipeline.models.registry import build
from pipeline.models.weights import save_weights, weights_digest
from pipeline.store.format.check import read_manifest
from pipeline.store.format.codecs import Codec
from pipeline.store.format.manifest import TeacherInfo
from pipeline.store.read import open_store
from pipeline.store.write.difference import measure
from pipeline.tools import recompute
from pipeline.tools.describe import describe_store
from pipeline.views.params import Augmentation
from pipeline.views.predict import place
from stages.store.group import COMMANDS, store

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "zarr", "numpy", "pandas", "pyarrow", "dvc")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(store, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def output(*arguments: object, code: int = 0) -> str:
    """What a command prints, which fits into 80 columns but for the names of files."""
    text = short = run(*arguments, code=code).output
    for path in [argument for argument in arguments if isinstance(argument, Path)]:
        short = short.replace(str(path), "")
    assert all(len(line) <= 80 for line in short.splitlines()), text
    return text


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_imports_nothing_heavy(name: str | None) -> None:
    arguments = [name, "--help"] if name else ["--help"]
    code = (
        f"import sys; from stages.store.group import store; store({arguments!r}, standalone_mode=False); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "Usage:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_lists_every_command() -> None:
    text = output("--help")
    assert all(name in text for name in COMMANDS)
    assert "No such command" in run("inof", code=2).output


def cells(text: str, label: str) -> list[str]:
    """The words of the line that starts with a label."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return line.strip().removeprefix(label).split()


def test_info_of_a_good_store(tmp_path: Path) -> None:
    path = make_store(tmp_path, codec=CODECS["int8"])
    text = output("info", path)
    assert f"{path}: complete" in text
    assert cells(text, "Teacher") == ["resnet20", "(resnet20),", "top-1", "99.00%"]
    assert cells(text, "weights") == ["cd" * 32]
    assert cells(text, "fingerprint") == ["ab" * 32]
    assert cells(text, "Mixup shares") == ["0", "to", "1"]
    assert cells(text, "Views") == ["-", "5", "5"]
    assert cells(text, "Codec") == ["int8", "int8", "int8"]
    assert cells(text, "Lossy") == ["yes", "yes", "yes"]
    size = sum(len(data) for data in tree(path).values())
    facts = describe_store(path)
    assert abs(facts["bytes"] - size) < 100  # the root's metadata aside
    assert facts["files"] == len(tree(path))
    errors = facts["groups"]["mixed"]["measured_error"]
    assert cells(text, "KL at T=4, nats")[2] == f"{errors['kl_t4']:.3g}"
    assert cells(text, "KL at T=1, nats")[2] == f"{errors['kl_t1']:.3g}"
    # Codes, offset and step, and the CRC of two files of a view.
    assert facts["groups"]["plain"]["bytes_per_row"]["logits"] == 10 + 4 + round(8 / IMAGES, 2)


def test_info_of_dense_logits_tells_of_no_cost(tmp_path: Path) -> None:
    text = output("info", make_store(tmp_path))
    assert "KL at" not in text
    assert cells(text, "Lossy") == ["no", "no", "no"]


def test_info_as_json_is_canonical(tmp_path: Path) -> None:
    path = make_store(tmp_path, codec=CODECS["topk"])
    text = run("info", path, "--json").output
    facts = json.loads(text)
    assert canonical_json(facts).decode() == text
    assert facts["store"] == str(path)
    assert facts["shares"] == [0.0, 1.0]
    assert facts["complete"] is True
    assert facts["groups"]["plain"]["codec"]["top_k"] == 3
    assert facts["dataset"]["mean"] == [0.3, 0.3, 0.3]
    assert facts["groups"]["mixed"]["recipe"]["alpha"] == 1.0


@pytest.mark.parametrize(
    ("gone", "shares"),
    [(["mixed"], (0.0, 0.0)), (["plain", "clean"], (1.0, 1.0)), (["plain", "mixed"], None)],
)
def test_shares_follow_from_the_groups(tmp_path: Path, gone: list[str], shares) -> None:
    path = make_store(tmp_path)
    for group in gone:
        shutil.rmtree(path / group)
    assert describe_store(path)["shares"] == shares
    assert "complete" in output("info", path)


def test_info_of_a_store_that_lacks_files(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    (path / "plain/logits/c.3.0.0").unlink()
    (path / "mixed/manifest.json").write_bytes(b"{")
    text = run("info", path).output
    assert f"{path}: NOT complete" in text
    assert "plain/logits/c.3.0.0: missing" in text
    assert "dvc pull" in text
    assert "mixed/manifest.json: not JSON" in text
    assert cells(text, "Complete") == ["yes", "NO"]
    assert json.loads(run("info", path, "--json").output)["groups"]["mixed"] == {"complete": False}
    missing = run("info", tmp_path / "none.zarr", code=1).output
    assert "no such store" in missing


def test_groups_of_different_teachers_are_told(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    shutil.rmtree(path / "mixed")
    write_group(tmp_path / "other", "mixed", teacher=replace(TEACHER, weights_sha256="ef" * 32))
    shutil.copytree(tmp_path / "other/mixed", path / "mixed")
    assert describe_store(path)["groups_disagree_on"] == ["teacher"]
    assert "its groups disagree on the teacher" in run("info", path).output


def test_no_text_of_a_store_moves_the_cursor(tmp_path: Path) -> None:
    teacher = replace(TEACHER, network="\x1b[2Jevil [bold]x")
    path = tmp_path / "evil.zarr"
    write_group(path, "plain", teacher=teacher, versions={"torch": "\x1b]0;x\x07"})
    text = run("info", path).output + run("ls", "--stores", tmp_path).output
    assert "\x1b" not in text
    assert "\\x1b[2Jevil [bold]x" in text


def test_no_name_of_a_store_moves_the_cursor(tmp_path: Path) -> None:
    path = make_store(tmp_path).rename(tmp_path / "x\x07red.zarr")
    (path / "plain/flip/c.0.0").unlink()
    for command in ("verify", "info"):
        text = run(command, path, code=int(command == "verify")).output
        assert "To mend it: `dvc pull" in text
        assert "\x07" not in text
        assert "x\\x07red" in text


def test_a_store_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "stores").rename(tmp_path / "data/stores")
    assert output("info", "resnet20").startswith("data/stores/resnet20.zarr: complete")
    assert output("info", "resnet20.zarr").startswith("data/stores/resnet20.zarr: complete")
    assert output("ls").splitlines()[1].split()[:2] == ["resnet20", "digits"]
    # One that is not there is looked for there too, so that the advice names the right path.
    assert "`dvc pull data/stores/wrn_40_2.zarr`" in run("verify", "wrn_40_2", code=1).output


def test_ls_lists_every_store(tmp_path: Path) -> None:
    make_store(tmp_path, codec=CODECS["topk"])
    shutil.copytree(tmp_path / "stores/resnet20.zarr", tmp_path / "stores/worse.zarr")
    shutil.rmtree(tmp_path / "stores/worse.zarr/mixed")
    (tmp_path / "stores/worse.zarr/plain/flip/c.0.0").unlink()
    (tmp_path / "stores/none.zarr").mkdir()
    (tmp_path / "stores/zip.zarr").write_bytes(b"no folder")
    (tmp_path / "stores/zz.zarr").symlink_to("nowhere")
    lines = output("ls", "--stores", tmp_path / "stores").splitlines()
    assert lines[1].split() == ["none", "?", "?", "-", "-", "0", "B", "NOT", "complete"]
    assert lines[2].split()[:6] == ["resnet20", "digits", "topk", "99.00%", "5", "5"]
    assert lines[2].endswith(" complete")
    assert lines[3].split()[:6] == ["worse", "digits", "topk", "99.00%", "5", "-"]
    assert lines[3].endswith("NOT complete")
    facts = json.loads(run("ls", "--stores", tmp_path / "stores", "--json").output)
    assert [one["name"] for one in facts] == ["none", "resnet20", "worse", "zip", "zz"]
    assert [line.split()[0] for line in lines[4:] if "NOT complete" in line] == ["zip", "zz"]
    assert "no stores" in output("ls", "--stores", tmp_path / "empty")
    assert run("ls", "--stores", tmp_path / "empty", "--json").output == "[]\n"


def test_verify_of_a_good_store(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    text = output("verify", path)
    assert f"{path}: good (clean, plain, mixed; {len(tree(path))} files" in text
    assert "sha256 of every file" in output("verify", path, "--deep")
    facts = json.loads(run("verify", path, "--json").output)
    assert facts == {
        "store": str(path),
        "good": True,
        "deep": False,
        "problems": [],
        "recomputed": [],
        "seed": None,
        "images": None,
    }


def test_verify_of_a_bad_store(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    for v in range(5):
        (path / f"plain/logits/c.{v}.0.0").write_bytes(b"x")
    (path / "mixed/stray").mkdir()
    text = run("verify", path, code=1).output
    assert f"{path}: BAD, 6 problems" in text
    assert "plain/logits/c.3.0.0: 1 bytes, expected 804" in text
    assert text.count(f"decant store mend {path}") == 1
    assert "To mend it: move it elsewhere, or delete it" in text
    facts = json.loads(run("verify", path, "--deep", "--json", code=1).output)
    assert facts["good"] is False
    assert {one["kind"] for one in facts["problems"]} == {"WrongSizeError", "ExtraFileError"}
    hints = {one["kind"]: one["hint"] for one in facts["problems"]}
    assert "dvc repro dump@resnet20" in hints["WrongSizeError"]


def test_only_deep_verification_sees_bytes_whose_crc_is_right(tmp_path: Path) -> None:
    path = make_store(tmp_path, codec=CODECS["zstd"])
    # The same CRC from other bytes takes an attacker; here the manifest's hash is the other one.
    manifest = path / "plain/manifest.json"
    content = json.loads(manifest.read_bytes())
    content["files"]["logits/c.1.0.0"]["sha256"] = "00" * 32
    sign(path, "plain", lambda old: old.update(files=content["files"]))
    assert "good" in output("verify", path)
    assert "plain/logits/c.1.0.0" in run("verify", path, "--deep", code=1).output


def test_verify_without_a_store(tmp_path: Path) -> None:
    text = run("verify", tmp_path / "none.zarr", code=1).output
    assert "no such store" in text
    assert "dvc pull" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rows", "5"],
        ["--tolerance", "0.1"],
        ["--seed", "1"],
        ["--teacher", "nowhere"],
        ["--rows", "0", "--teacher", "."],
        ["--deepest"],
    ],
)
def test_wrong_usage_of_verify_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    assert "Usage:" in run("verify", make_store(tmp_path), *arguments, code=2).output


# --- with the teacher -----------------------------------------------------------------------------

AUGMENTATION = Augmentation(pad=2, flip=True)
CPU = torch.device("cpu")


class World:
    """Prepared digits, a teacher and its store in a folder."""

    def __init__(self, folder: Path, data) -> None:
        self.folder, self.data = folder, data
        torch.manual_seed(0)
        self.network = build("resnet8", 10)
        self.network.eval()
        self.weights = folder / "weights.safetensors"
        save_weights(self.network, self.weights)
        save_prepared(data, folder / "prepared")
        self.stores = {name: self.dump(name, codec) for name, codec in CODECS.items()}

    def dump(
        self,
        name: str,
        codec: Codec,
        network: Network | None = None,
        data: ImageData | None = None,
        **changes,
    ) -> Path:
        data = data or self.data
        params = DumpParams(
            seed=5,
            batch_size=128,
            plain=PlainViews(views=2, draw="random"),
            mixed=MixedViews(views=2, draw="stratified", alpha=1.0),
            codec=codec,
        )
        teacher = TeacherInfo(
            name="resnet8",
            network="resnet8",
            weights_sha256=weights_digest(self.network),
            training={"mixup": None},
            top1_accuracy=0.1,
        )
        teacher = replace(teacher, **changes)
        target = self.folder / "stores" / f"{name}.zarr"
        place(self.network, CPU)
        for group in groups_of(params):
            made = group_header(group, params, AUGMENTATION, data, teacher, CPU)
            work = self.folder / "work" / name
            teaching = network or self.network
            files = dump_group(teaching, made, params, data, CPU, work)
            for inside, path in files.items():
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / inside)
        return target

    def verify(self, path: Path, *more: object, code: int = 0) -> dict:
        options = ("--teacher", self.weights, "--prepared", self.folder / "prepared")
        device = ("--device", "cpu", "--json")
        return json.loads(run("verify", path, *options, *device, *more, code=code).output)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, few_digits) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        return World(tmp_path_factory.mktemp("world"), few_digits)


@pytest.mark.parametrize("name", CODECS)
def test_the_teacher_says_the_same_again(world: World, name: str) -> None:
    found = world.verify(world.stores[name], "--rows", 60)
    assert found["good"] is True
    groups = {one["group"]: one for one in found["recomputed"]}
    assert list(groups) == ["clean", "plain", "mixed"]
    for group, one in groups.items():
        assert one["rows"] == 60
        lost = name in LOSSY and group != "clean" and not name.startswith("topk")
        assert (one["tolerance"] > 0.02) == lost
        assert one["max_abs_difference"] <= one["tolerance"]
        assert one["mean_abs_difference"] <= one["max_abs_difference"]
    clean = open_store(world.stores[name], groups=["clean"]).clean.manifest.header
    assert clean.codec == Codec()


def test_all_rows_are_compared_where_there_are_fewer(world: World) -> None:
    found = world.verify(world.stores["dense"], "--rows", 10**9)["recomputed"]
    assert [one["rows"] for one in found] == [420, 640, 640]
    assert all(one["top1_disagreement"] < 0.02 for one in found)


def test_what_is_lost_is_what_the_manifest_states(world: World) -> None:
    """Over all rows, decoded logits differ from a new float32 pass by about the measured error."""
    for name in ("bitround", "int8"):
        group = open_store(world.stores[name], groups=["plain"]).group("plain")
        stated = group.manifest.measured_error
        exact = open_store(world.stores["dense"], groups=["plain"]).group("plain")
        views = [measure(exact.logits(v), group.logits(v)) for v in range(2)]
        assert stated["max_abs_difference"] == pytest.approx(
            max(view.max_abs_difference for view in views), rel=1e-3
        )
        found = world.verify(world.stores[name], "--rows", 10**9)["recomputed"][1]
        assert found["max_abs_difference"] == pytest.approx(
            stated["max_abs_difference"], rel=0.2, abs=1e-3
        )


def test_a_tolerance_of_ones_own(world: World) -> None:
    found = world.verify(world.stores["int8"], "--tolerance", 1e-9, code=1)
    assert found["good"] is False
    text = run(
        "verify",
        world.stores["int8"],
        *("--teacher", world.weights, "--prepared", world.folder / "prepared"),
        *("--device", "cpu", "--tolerance", 1e-9, "--rows", 7),
        code=1,
    ).output
    assert "Recomputed with the teacher (random rows, --seed " in text
    assert text.splitlines()[-1].endswith("BAD")


def test_other_weights_are_refused_by_name(world: World, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_weights(build("resnet8", 10), tmp_path / "other.safetensors")
    options = ("--teacher", tmp_path / "other.safetensors", "--prepared", world.folder / "prepared")
    text = run("verify", world.stores["dense"], *options, code=1).output
    assert "not the weights that made" in text
    assert "dvc repro dump@dense" in text


def test_a_store_that_claims_too_much_is_found_out(world: World, tmp_path: Path) -> None:
    """Logits of other weights, in a store that does not say whose they are."""
    torch.manual_seed(1)
    save_weights(build("resnet8", 10), tmp_path / "other.safetensors")
    path = world.dump("anonymous", Codec(), weights_sha256=None)
    options = ("--teacher", tmp_path / "other.safetensors", "--rows", 50)
    found = world.verify(path, *options[2:])
    assert found["good"] is True
    text = run(
        "verify", path, *options, "--prepared", world.folder / "prepared", "--device", "cpu", code=1
    ).output
    assert text.count("BAD") == 3


def lying(network: Network, lie) -> Network:
    """The network, but for what it says: `lie` of its logits and features."""
    liar = copy.deepcopy(network)
    liar.forward_features = lambda images: lie(*network.forward_features(images))
    return liar


def kept(count: int, logits: torch.Tensor) -> torch.Tensor:
    """The largest logits as they are, all others equal and far off."""
    top = logits.topk(count, dim=1).indices
    return torch.full_like(logits, -9.0).scatter(1, top, logits.gather(1, top))


def without_the_largest(logits: torch.Tensor) -> torch.Tensor:
    """Ranks 2 to 4 as they are; rank 1 shares what is left, which is right in sum."""
    order = logits.argsort(dim=1, descending=True)
    others = torch.cat([order[:, :1], order[:, 4:]], dim=1)
    shared = logits.gather(1, others).logsumexp(dim=1, keepdim=True) - math.log(others.shape[1])
    return logits.scatter(1, others, shared.expand(others.shape))


LIES = {
    "logits": (CODECS["dense"], lambda logits, features: (logits.roll(3, dims=1) * 7, features)),
    "features": (CODECS["dense"], lambda logits, features: (logits, features + 0.2)),
    "int8": (CODECS["int8"], lambda logits, features: (logits + 0.2, features)),
    "topk": (CODECS["topk"], lambda logits, features: (0 * logits, features)),
    "topk, the shared logit": (
        CODECS["topk"],
        lambda logits, features: (kept(3, logits), features),
    ),
    "topk, without the largest": (
        CODECS["topk"],
        lambda logits, features: (without_the_largest(logits), features),
    ),
    "topk but one": (CODECS["topk"], lambda logits, features: (kept(1, logits), features)),
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("boast", [{}, {"max_abs_difference": 1e6}], ids=["plain", "boasting"])
def test_what_a_store_states_of_itself_excuses_no_lie(
    world: World, tmp_path: Path, name: str, boast: dict
) -> None:
    """Its maker has the teacher's digest, and may state any tolerance and any cost of the codec."""
    codec, lie = LIES[name]
    path = world.dump(f"lie {name} {bool(boast)}", codec, lying(world.network, lie))
    for group in ("clean", "plain", "mixed"):

        def change(manifest: dict) -> None:
            manifest["header"]["tolerance"] = 1e6
            manifest["measured_error"] |= boast

        sign(path, group, change)
    found = world.verify(path, "--rows", 50, code=1)
    groups = {one["group"]: one for one in found["recomputed"]}
    assert found["good"] is False
    assert groups["clean"]["good"] is False
    # Features of views are not stored here.
    assert groups["plain"]["good"] is groups["mixed"]["good"] is (name == "features")
    assert all(one["tolerance"] < 0.2 for one in groups.values())


@pytest.mark.parametrize(("factor", "good"), [(1.0, True), (1.002, False)])
def test_large_features_have_float16_s_own_rounding(
    tmp_path: Path, factor: float, good: bool
) -> None:
    logits = np.linspace(-5, 5, 400, dtype=np.float32).reshape(40, 10)
    features = np.linspace(0, 1500, 40 * 64, dtype=np.float32).reshape(40, 64)
    half = (factor * features).astype(np.float16)
    rows = recompute._Rows(logits.astype(np.float16), half, logits, features)
    manifest = read_manifest(make_store(tmp_path), "plain")
    compared = recompute._compare(manifest, [rows], None)
    assert (compared.features_max_abs_difference or 0) > 0.1
    assert compared.good is good


def test_rows_cannot_be_known_beforehand_but_chosen_again(world: World) -> None:
    path = world.stores["dense"]
    first, second = (world.verify(path, "--rows", 60) for _ in range(2))
    assert first["seed"] != second["seed"]
    assert first["recomputed"] != second["recomputed"]
    assert world.verify(path, "--rows", 60, "--seed", first["seed"]) == first


def test_code_that_a_manifest_names_is_not_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any installed function may be named; the user's own parameter file has to name it, too."""
    marker, params, path = tmp_path / "marker", tmp_path / "params.yaml", tmp_path / "strange.zarr"
    code = f"from pipeline.models.resnet import resnet8\nopen({str(marker)!r}, 'w').close()\n"
    (tmp_path / "strange_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    name = "strange_package:resnet8"
    shutil.copytree(world.stores["dense"], path)
    for group in ("clean", "plain", "mixed"):
        sign(path, group, lambda manifest: manifest["header"]["teacher"].update(network=name))
    options = ("--teacher", world.weights, "--prepared", world.folder / "prepared")
    dataset = {"name": "digits", "image_size": 16, "test_fraction": 0.2}
    dataset |= {"mean": world.data.mean, "std": world.data.std}
    content = {"dataset": dataset, "teachers": {"mine": {"network": "resnet8"}}}
    params.write_text(json.dumps(content))
    for more in ((), ("--params", params)):
        text = run("verify", path, *options, *more, code=1).output
        assert f"names the network '{name}', which is none of Decant's" in text
        assert "teachers.NAME.network" in text
        assert not marker.exists()
    content["teachers"]["mine"]["network"] = name
    params.write_text(json.dumps(content))
    assert world.verify(path, "--params", params)["good"] is True
    assert marker.exists()


def test_another_normalisation_is_refused_by_name(world: World, tmp_path: Path) -> None:
    save_prepared(replace(world.data, mean=(0.5, 0.5, 0.5)), tmp_path / "prepared")
    options = ("--teacher", world.weights, "--prepared", tmp_path / "prepared")
    text = run("verify", world.stores["dense"], *options, code=1).output
    assert "another normalisation" in text
    assert "dvc repro dump@dense" in text


def test_a_group_cannot_say_that_its_teacher_saw_other_images(world: World, tmp_path: Path) -> None:
    """Under its own normalisation every image is the same to the teacher: logits that teach nothing."""
    path = tmp_path / "resnet8.zarr"
    shutil.copytree(world.stores["dense"], path)
    blind = Normalisation(mean=(0.5, 0.5, 0.5), std=(1e6, 1e6, 1e6))
    other = world.dump("blind", Codec(), data=world.data.normalised(blind), normalisation=blind)
    shutil.rmtree(path / "plain")
    shutil.copytree(other / "plain", path / "plain")
    dataset = json.loads((path / "clean/manifest.json").read_text())["header"]["dataset"]
    sign(path, "plain", lambda manifest: manifest["header"].update(dataset=dataset))
    options = ("--teacher", world.weights, "--prepared", world.folder / "prepared")
    text = run("verify", path, *options, "--device", "cpu", code=1).output
    assert "its groups disagree on the teacher" in text
    assert "dvc repro dump@resnet8" in text


def test_labels_of_another_data_set_are_found(world: World, tmp_path: Path) -> None:
    path = tmp_path / "resnet8.zarr"
    shutil.copytree(world.stores["dense"], path)
    labels = np.roll(world.data.test.labels, 1)
    wrong = int((labels != world.data.test.labels).sum())
    replace_file(path, "clean", "test/labels/c.0", with_crc(labels.tobytes()))
    options = ("--teacher", world.weights, "--prepared", world.folder / "prepared")
    text = run("verify", path, *options, "--device", "cpu", code=1).output
    assert f"{wrong} of its test labels are not the data set's" in text


# --- diff -----------------------------------------------------------------------------------------


def test_a_store_does_not_differ_from_its_copy(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    shutil.copytree(path, tmp_path / "copy.zarr")
    assert output("diff", path, tmp_path / "copy.zarr").endswith(": the same\n")
    assert json.loads(run("diff", path, path, "--json").output)["same"] is True


def test_diff_of_codecs_measures_what_they_cost(tmp_path: Path) -> None:
    dense = make_store(tmp_path / "a")
    other = make_store(tmp_path / "b", codec=CODECS["int8"])
    facts = json.loads(run("diff", dense, other, "--json", code=1).output)
    plain = facts["groups"]["plain"]
    assert plain["facts"]["codec.name"] == ["dense", "int8"]
    assert plain["facts"]["lossy"] == [False, True]
    assert plain["plan"] == {"views": 5, "same": 5}
    stated = describe_store(other)["groups"]["plain"]["measured_error"]
    assert {key: plain["logits"][key] for key in stated} == pytest.approx(stated, rel=1e-3)
    assert plain["logits"]["rows"] == 5 * IMAGES
    few = json.loads(run("diff", dense, other, "--json", "--views", 2, code=1).output)
    assert few["groups"]["plain"]["logits"]["rows"] == 2 * IMAGES
    assert "The plan of 5 of 5 common views is the same." in output("diff", dense, other, code=1)


def test_diff_of_other_plans_compares_no_logits(tmp_path: Path) -> None:
    first, second = tmp_path / "a.zarr", tmp_path / "b.zarr"
    write_group(first, "plain", views=3)
    recipe = replace(header("plain").recipe, seed=4)
    from pipeline.store.write.writers import GroupWriter
    from pipeline.views.plans import draw_view

    views = plan("plain", 1) + [draw_view("plain", recipe, v, IMAGES) for v in (1, 2)]
    writer = GroupWriter(second, header("plain", recipe=recipe), views, feature_dim=None)
    for v in range(3):
        writer.write_view(v, np.zeros((IMAGES, 10), np.float16))
    writer.finish()
    for path in (first, second):
        (path / ".plain-header.json").unlink()
    plain = json.loads(run("diff", first, second, "--json", code=1).output)["groups"]["plain"]
    assert plain["plan"] == {"views": 3, "same": 1}
    assert plain["facts"]["recipe.seed"] == [3, 4]
    assert plain["facts"]["feature_dim"] == [7, None]
    assert plain["logits"]["rows"] == IMAGES


def test_diff_of_logits_alone(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    other = tmp_path / "other.zarr"
    shutil.copytree(path, other)
    shutil.rmtree(other / "plain")
    from pipeline.store.write.writers import GroupWriter

    writer = GroupWriter(tmp_path / "w", header("plain"), plan("plain", 5), feature_dim=7)
    for v in range(5):
        writer.write_view(v, np.zeros((IMAGES, 10), "f2"), np.zeros((IMAGES, 7), "f2"))
    writer.finish()
    shutil.copytree(tmp_path / "w/plain", other / "plain")
    facts = json.loads(run("diff", path, other, "--json", code=1).output)
    assert facts["groups"]["clean"]["facts"] == {}
    assert facts["groups"]["plain"]["facts"] == {
        "files": ["features/c.0.0.0 and 9 more", "other bytes"]
    }
    assert facts["groups"]["plain"]["logits"]["kl_t1"] > 0.1
    assert "plain" in output("diff", path, other, code=1)


def test_diff_of_missing_groups_and_stores(tmp_path: Path) -> None:
    path = make_store(tmp_path)
    other = tmp_path / "other.zarr"
    shutil.copytree(path, other)
    shutil.rmtree(other / "mixed")
    assert "mixed: only in the first" in output("diff", path, other, code=1)
    assert "mixed: only in the second" in output("diff", other, path, code=1)
    assert "no such store" in run("diff", path, tmp_path / "none.zarr", code=1).output


def test_diff_of_another_data_set_compares_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "a.zarr", tmp_path / "b.zarr"
    write_group(first, "plain", views=2)
    write_group(second, "plain", views=2, dataset=replace(DATASET, fingerprint="00" * 32))
    for path in (first, second):
        (path / ".plain-header.json").unlink()
    text = output("diff", first, second, code=1)
    assert "dataset.fingerprint" in text
    assert "No logits compared" in text
