"""The benchmarks measure what they say; how fast anything is, is not tested."""

import copy
import json
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import cross_entropy, softmax

from benchmarks import __main__ as command
from benchmarks import anatomy, gpu, memory, precision, timing
from benchmarks.anatomy import Stopwatch, activation_bytes
from benchmarks.dumping import Dump
from benchmarks.engine import (
    LiveTeacher,
    cached_run,
    image_bank,
    kd_loss,
    online_run,
    stored,
)
from benchmarks.field import (
    Crew,
    FieldImages,
    FieldLoop,
    field_transform,
    possible_crews,
    top_k,
)
from benchmarks.figures import FIGURES, Measured, keys_for, reached, table, write_results
from benchmarks.input import OwnBatches, PilBatches
from benchmarks.setting import BATCH, CLASSES, Setting, first_images, random_images, write_store
from benchmarks.teachers import teacher
from benchmarks.timing import Ratio, Rounds, fastest, on_threads, take_turns
from pipeline.tools.verify import verify_store
from pipeline.views.batches import Batch, ViewBatches

KEYS = [
    "cached_vs_online_resnet56_resnet20",
    "cached_vs_online_resnet110_resnet20",
    "cached_vs_plain_step",
    "epoch_vs_field_resnet56_resnet20",
    "epoch_vs_field_resnet110_resnet20",
    "augmentation_vs_pil",
    "dump_vs_forward",
    "dump_bf16_vs_eager_float32",
    "view_read_vs_memcpy",
    "help_vs_click",
]
GPU_KEYS = [
    "gpu_graph_vs_eager",
    "gpu_epoch_vs_field",
    "gpu_four_replicates_vs_one",
    "gpu_dump_images_per_s",
]


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    folder = tmp_path_factory.mktemp("benchmarks")
    data = random_images(4 * BATCH)
    return Setting(
        device=torch.device("cpu"),
        rounds=2,
        steps=1,
        dump_images=64,
        precision="float32",
        folder=folder,
        data=data,
        store=write_store(folder, data, 3),
    )


def test_contenders_take_turns():
    order: list[str] = []
    contenders = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    found = take_turns(contenders, 3, lambda: order.append("wait"))
    assert [name for name in order if name != "wait"] == ["a", "b"] * 4  # one round to warm up
    assert order[:6] == ["wait", "a", "wait", "wait", "b", "wait"]
    assert {name: len(times) for name, times in found.wall.items()} == {"a": 3, "b": 3}


def test_only_the_contender_is_timed():
    found = take_turns({"slow": lambda: time.sleep(0.02), "fast": lambda: None}, 3)
    assert found.wall["slow"].min() >= 0.02
    assert found.seconds("fast") < 0.02
    assert found.processor["slow"].max() < 0.02  # asleep


def test_contenders_may_time_themselves():
    found = take_turns({"own": lambda: 7.5, "other": lambda: None}, 2)
    assert found.seconds("own") == 7.5
    assert found.seconds("other") < 1


def test_ratios_are_paired_by_round():
    wall = {"a": np.array([2.0, 40.0, 6.0]), "b": np.array([1.0, 10.0, 2.0])}
    found = Rounds(wall, {name: times / 2 for name, times in wall.items()})
    assert found.ratio("a", "b") == Ratio(3.0, 2.5, 3.5)  # of 2, 4, 3
    assert found.processor_ratio("b", "a") == pytest.approx(1 / 3)
    assert found.seconds("a") == 6.0


def test_figures_are_those_of_the_table():
    assert list(FIGURES) == KEYS + GPU_KEYS
    assert keys_for("cpu") == KEYS
    assert keys_for("cuda") == KEYS + GPU_KEYS


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [("augmentation_vs_pil", 20.0, 19.9), ("cached_vs_plain_step", 1.03, 1.04)],
)
def test_what_has_to_be_reached(key, good, bad):
    assert reached(FIGURES[key], good)
    assert not reached(FIGURES[key], bad)


def test_results_as_json_and_as_a_table(tmp_path):
    measured = {
        "augmentation_vs_pil": Measured(
            value=21.23456, low=20.0, high=22.0, facts={"a": [1.23456]}
        ),
        "gpu_graph_vs_eager": Measured(value=None, facts={"why": "no GPU"}),
    }
    out = tmp_path / "new" / "cpu.json"
    write_results(out, measured, {"machine": {"cores": 2}}, measured)
    content = json.loads(out.read_text())
    assert content["ratios"] == {"augmentation_vs_pil": 21.23, "gpu_graph_vs_eager": None}
    assert content["machine"] == {"cores": 2}
    assert content["details"]["augmentation_vs_pil"]["facts"] == {"a": [1.235]}
    shown = table(measured)
    assert list(shown.columns[1].cells) == ["21.2", "not available"]
    assert list(shown.columns[3].cells) == ["20", "8"]


def test_a_step_of_the_field_is_its_definition(setting):
    loop = FieldLoop("resnet14", "resnet8", setting.data, 0, setting.device)
    student = copy.deepcopy(loop.student)
    images = torch.randn(8, 3, 32, 32)
    targets = torch.randint(0, CLASSES, (8,))
    loop._step(images, targets)
    logits, soft = student(images), softmax(loop.teacher(images).detach() / 4, dim=1)
    divergence = (soft * (soft.log() - torch.log_softmax(logits / 4, dim=1))).sum(1).mean()
    loss = 0.1 * cross_entropy(logits, targets) + 0.9 * 16 * divergence
    loss.backward()
    assert loop.meters[0][0] == pytest.approx(loss.item(), rel=1e-5)
    for ours, theirs in zip(student.parameters(), loop.student.parameters(), strict=True):
        gradient = ours.grad + 5e-4 * ours.detach()  # the first step's momentum is the gradient
        torch.testing.assert_close(theirs.detach(), ours.detach() - 0.05 * gradient)
    assert not loop.teacher.training


def test_the_field_goes_on_after_an_epoch(setting):
    data = first_images(setting.data, BATCH + 16)
    loop = FieldLoop("resnet8", "resnet8", data, 0, setting.device)
    before = copy.deepcopy(loop.student.state_dict())
    loop.run(3)
    assert len(loop.meters) == 3
    assert not torch.equal(before["fc.weight"], loop.student.state_dict()["fc.weight"])
    assert loop.student.conv1.weight.is_contiguous()
    assert loop.student.conv1.weight.dtype == torch.float32


def test_crews_that_are_tried():
    assert possible_crews(1) == [Crew(0, 1), Crew(1, 1)]
    assert possible_crews(2) == [Crew(w, t) for w in (0, 1, 2) for t in (1, 2)]
    assert max(crew.workers for crew in possible_crews(6)) == 6


def test_a_contender_may_have_threads_of_its_own():
    assert on_threads(2, torch.get_num_threads)() == 2
    assert torch.get_num_threads() == 1


def test_the_fastest_is_the_choice(monkeypatch):
    """By a clock that only the contenders move; the slow first turn of the fastest does not count."""
    now = 0

    def contender(*turns):
        seconds = iter(turns)

        def take_a_turn():
            nonlocal now
            now += next(seconds)

        return take_a_turn

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    contenders = {"a": contender(1, 3), "b": contender(9, 1), "c": contender(1, 2)}
    assert fastest(contenders) == "b"


def test_images_of_the_field_are_normalised(setting):
    dataset = FieldImages(setting.data.train, field_transform(setting.data))
    image, label, index = dataset[5]
    assert image.shape == (3, 32, 32)
    assert (label, index) == (setting.data.train.labels[5], 5)
    assert len(dataset) == 4 * BATCH
    black = (0 - setting.data.mean[0]) / setting.data.std[0]
    white = (1 - setting.data.mean[0]) / setting.data.std[0]
    assert black - 1e-5 <= image[0].min() < 0 < image[0].max() <= white + 1e-5


def test_top_k_against_sorting():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 9, generator=generator)
    targets = torch.randint(0, 9, (50,), generator=generator)
    ranks = [
        row.argsort(descending=True).tolist().index(t)
        for row, t in zip(logits, targets.tolist(), strict=True)
    ]
    expected = [100 * np.mean([rank < k for rank in ranks]) for k in (1, 5)]
    assert top_k(logits, targets) == pytest.approx(expected)


def test_a_live_teacher_says_what_a_cache_of_it_would():
    live = LiveTeacher("resnet8", CLASSES, "float32", torch.device("cpu"))
    images, targets = torch.randn(4, 3, 32, 32), torch.eye(CLASSES)[:4]
    logits, features, start = torch.randn(4, CLASSES), torch.randn(4, 64), torch.zeros(())
    with torch.no_grad():
        said = teacher("resnet8", CLASSES)(images)
    cached = kd_loss()(logits, features, Batch(images, targets, said), start)
    online = live(logits, features, Batch(images, targets), start)
    torch.testing.assert_close(online, cached)
    lower = LiveTeacher("resnet8", CLASSES, "bfloat16", torch.device("cpu")).logits(images)
    assert lower.dtype == torch.float32
    assert 0 < (lower - said).abs().max() < 0.1 * said.abs().max()


@pytest.mark.parametrize("name", ["resnet8", "resnet110"])
def test_untrained_teachers_do_not_overflow(name):
    network = teacher(name, CLASSES)
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 32, 32))
    assert not network.training
    assert 1e-3 < logits.abs().max() < 100


def test_runs_train(setting):
    bank = image_bank(setting)
    for run in (cached_run(setting, bank), online_run(setting, bank, "resnet8")[0]):
        before = run.trainer.network.head.weight.detach().clone()
        run.steps(2)
        assert run.trainer.images_in_epoch == 2 * BATCH
        assert not torch.equal(before, run.trainer.network.head.weight)
        assert run.trainer.params.schedule.milestones == (150, 180, 210)


def test_a_run_goes_on_after_an_epoch(setting):
    run = cached_run(setting, image_bank(setting))
    run.steps(5)
    assert run.trainer.images_in_epoch == BATCH


def test_views_that_share_a_file_are_a_good_store(setting):
    assert verify_store(setting.store.folder, deep=True) == []
    group = setting.store.group("mixed")
    assert group.views == 3
    np.testing.assert_array_equal(group.logits(0), group.logits(2))
    assert not np.array_equal(group.plan(0).crop_yx, group.plan(2).crop_yx)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_batches_of_both_sides_are_alike(setting, share):
    data = setting.data
    batches = ViewBatches(image_bank(setting), data.train.labels, CLASSES)
    batches.start(stored(setting.store, share)(0))
    for images in (OwnBatches(batches).run(), PilBatches(setting, mixup=share == 1).run()):
        assert images.shape == (BATCH, 3, 32, 32)
        assert images.dtype == torch.float32
        # Uniform pixels are about 0 after normalisation; padding, which is black, pulls them down.
        assert -0.6 < images.mean() < 0.3


def test_a_dump_is_deleted(setting):
    network = teacher("resnet8", CLASSES)
    dump = Dump(network, first_images(setting.data, 96), setting, batch_size=32)
    seconds = dump.run()
    assert seconds == pytest.approx(sum(96 / dump.images_per_s[g] for g in ("plain", "mixed")))
    assert 0 < seconds < 60
    dump.run()
    assert len(list(setting.folder.glob("dump-*/mixed/logits/c.1.0.0"))) == 2
    dump.delete()
    assert list(setting.folder.glob("dump-*")) == []


def test_time_is_charged_to_the_part_that_took_it():
    class Machine:
        def turn(self) -> str:
            time.sleep(0.01)
            return "turned"

    machine, waits = Machine(), []
    watch = Stopwatch(lambda: waits.append(1))
    watch.time(machine, "turn", "turning")
    assert machine.turn() == machine.turn() == "turned"
    assert watch.take()["turning"] >= 0.02
    assert watch.take() == {}
    assert len(waits) == 4


def test_bytes_that_layers_write(tiny_network):
    # 32x32 halved twice: (8 + 8) channels of 16x16, (16 + 16) of 8x8
    assert activation_bytes(tiny_network(), 4) == 4 * (16 * 16 * 16 + 32 * 8 * 8)


def test_figures_of_graphs_where_there_is_no_gpu(setting):
    measured = gpu.graph_figure(setting) | gpu.together_figure(setting)
    assert list(measured) == ["gpu_graph_vs_eager", "gpu_four_replicates_vs_one"]
    for figure in measured.values():
        assert figure.value is None
        assert "only a GPU" in figure.facts["why"]


def test_peak_memory_is_that_of_the_task():
    small, large = memory.peak_of(memory.nothing), memory.peak_of(np.ones, 40_000_000)
    assert 0.25 < large - small < 0.45  # 0.32 GB


def test_a_failed_task_has_no_peak(capfd):
    with pytest.raises(RuntimeError, match="failed"):
        memory.peak_of(np.ones, -1)
    assert "negative" in capfd.readouterr().err


@pytest.mark.slow
def test_memory_of_a_small_store():
    result = CliRunner().invoke(
        memory.main, ["--images", "128", "--views", "2", "--epochs", "2", "--steps", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "student, share 0.5" in result.output


def test_the_command_writes_what_its_parts_measure(tmp_path, monkeypatch):
    def part(setting: Setting) -> dict[str, Measured]:
        """A part."""
        assert setting.precision == "bfloat16"
        return {key: Measured(value=1.0) for key in KEYS}

    monkeypatch.setattr(command, "CPU_PARTS", (part,))
    monkeypatch.setattr(command, "faster_precision", lambda *arguments: "bfloat16")
    monkeypatch.delenv("DECANT_DATA", raising=False)
    out = tmp_path / "cpu.json"
    result = CliRunner().invoke(command.main, ["--device", "cpu", "--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["ratios"] == dict.fromkeys(KEYS, 1.0)
    assert content["settings"]["cpu"]["precision"] == "bfloat16"
    assert content["machine"]["cores"] >= 1
    assert content["versions"]["torch"] == torch.__version__


def test_too_few_rounds_are_refused():
    result = CliRunner().invoke(command.main, ["--repeats", "6"])
    assert result.exit_code == 2
    assert "at least 7, found 6" in result.output


@pytest.mark.slow
def test_every_part_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("DECANT_DATA", raising=False)
    out = tmp_path / "cpu.json"
    result = CliRunner().invoke(command.main, ["--device", "cpu", "--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    ratios = json.loads(out.read_text())["ratios"]
    assert list(ratios) == KEYS
    assert all(value > 0 for value in ratios.values())


def test_agreement_and_differences_of_pairs():
    labels = np.array([0, 1, 2, 2], np.int32)

    def says(*classes: int) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[list(classes)]

    right, one_off, two_off = says(0, 1, 2, 2), says(0, 1, 2, 0), says(1, 0, 2, 2)
    assert precision.agreement(right, one_off) == 0.75
    lines = precision.report([(right, one_off), (two_off, two_off)], labels)
    assert lines[0].startswith("float32: 75.00 % +- 35.36 over 2 seeds")
    assert lines[1].startswith("bfloat16: 62.50 %")
    assert lines[2].startswith("difference by seed: -12.50 +- 12.50")
    assert "87.5% of images within pairs" in lines[3]
    assert "50.0% between seeds" in lines[4]


def test_random_images_teach_nothing(monkeypatch):
    monkeypatch.delenv("DECANT_DATA", raising=False)
    result = CliRunner().invoke(precision.main, [])
    assert result.exit_code == 2
    assert "set DECANT_DATA" in result.output


def test_both_stores_hold_the_same_views(tmp_path):
    school = precision.School(random_images(2 * BATCH), torch.device("cpu"), epochs=1, views=1)
    teacher = school.train("resnet8", *drawn_of(school), 0)
    exact, rounded = (
        school.store(teacher, p, tmp_path).group("plain") for p in precision.PRECISIONS
    )
    np.testing.assert_array_equal(exact.plan(0).crop_yx, rounded.plan(0).crop_yx)
    assert exact.manifest.measured_error == {}
    largest = np.abs(exact.logits(0).astype(np.float64) - rounded.logits(0)).max()
    assert rounded.manifest.measured_error["max_abs_difference"] == pytest.approx(largest, rel=1e-3)


def drawn_of(school):
    count = len(school.data.train.labels)
    return precision.DrawnEpochs(precision.AUGMENTATION, None, 0, count), precision.hard_label_loss


def test_parts_of_steps_add_up(setting):
    for parts in (
        anatomy.field_parts(setting, "resnet8", 2),
        anatomy.step_parts(setting, 0.5, 2),
    ):
        whole = parts.pop("whole step")
        assert len(parts) >= 5
        assert all(milliseconds > 0 for milliseconds in parts.values())
        assert sum(parts.values()) == pytest.approx(whole, rel=0.2)  # medians of two


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rates_of_a_machine(precision):
    found = anatomy.machine_rates(torch.device("cpu"), precision, channels=8, copied=1 << 20)
    assert 1e7 < found.flops < 1e14
    assert 1e7 < found.bytes < 1e13
    assert 1e-8 < found.call_seconds < 1e-2
