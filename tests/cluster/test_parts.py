"""Parts of a dump on a worker, without an engine: the same store as at home, whatever is lost."""

from dataclasses import replace

import pytest
import torch
from cluster_samples import Here
from store_samples import TEACHER, tree

from pipeline.cluster.dumping import ClusterAnswers
from pipeline.cluster.parts import Answered, Counted
from pipeline.core.machine import Machine
from pipeline.dump.dump import LocalAnswers, group_header, write_group
from pipeline.dump.params import DumpParams, MixedViews, PlainViews
from pipeline.dump.ready import ready
from pipeline.models.registry import build
from pipeline.training.processes import WorkerError
from pipeline.views.params import Augmentation

CPU = torch.device("cpu")
NETWORK = "conftest:TinyNetwork"
AUGMENTATION = Augmentation(pad=2, flip=True)
MACHINE = Machine(data_root="", device="cpu", cluster="local")
PARAMS = DumpParams(
    seed=5,
    batch_size=128,
    plain=PlainViews(views=3, draw="stratified", features=True),
    mixed=MixedViews(views=2, draw="random", alpha=0.5),
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build(NETWORK, 10)


def header_of(group, params, data):
    return group_header(group, params, AUGMENTATION, data, TEACHER, CPU)


def at_home(network, group, params, data, folder):
    header = header_of(group, params, data)
    nets = {p: ready(network, data.train.images.shape[1:3], p) for p in ("float32", "bfloat16")}
    local = LocalAnswers(nets[header.precision], header, data, CPU, nets["float32"])
    write_group(local, header, params, data, folder)
    return tree(folder)


class Away:
    """A dump on a cluster; `progress`: what was shown of it, `told`: what was said."""

    def __init__(self, network, group, params, data, folder, engine):
        self.progress, self.told = [], []
        header = header_of(group, params, data)
        views = params.group(group) if group != "clean" else None
        answers = ClusterAnswers(
            engine,
            network,
            NETWORK,
            params.precision,
            header,
            data,
            MACHINE,
            self.told.append,
            features=views is None or views.features,
        )
        show = lambda done, total: self.progress.append((done, total))  # noqa: E731
        write_group(answers, header, params, data, folder, show)
        self.tree = tree(folder)


@pytest.mark.parametrize("group", ["clean", "plain", "mixed"])
def test_a_group_made_elsewhere_is_that_made_at_home(network, few_digits, tmp_path, group):
    away = Away(network, group, PARAMS, few_digits, tmp_path / "away", Here())
    assert away.tree == at_home(network, group, PARAMS, few_digits, tmp_path / "home")
    if group != "clean":
        total = 320 * PARAMS.group(group).views
        assert away.progress[-1] == (total, total)
    assert away.told == []


def test_a_dump_in_bfloat16_measures_its_error_there(network, few_digits, tmp_path):
    params = replace(PARAMS, precision="bfloat16")
    for group in ("clean", "mixed"):
        away = Away(network, group, params, few_digits, tmp_path / f"away-{group}", Here())
        home = at_home(network, group, params, few_digits, tmp_path / f"home-{group}")
        assert away.tree == home


def test_a_lost_worker_costs_a_part(network, few_digits, tmp_path):
    engine = Here(lambda number, message: number == 1 and isinstance(message, Counted))
    away = Away(network, "plain", PARAMS, few_digits, tmp_path / "away", engine)
    assert away.tree == at_home(network, "plain", PARAMS, few_digits, tmp_path / "home")
    lost = f"{TEACHER.name} plain view 1: its worker was lost (as the test asks); sent out again"
    assert away.told == [lost]
    assert [arguments[-1] for arguments in engine.started] == [0, 1, 2, 1]
    assert away.progress[-1] == (960, 960)
    assert max(done for done, _ in away.progress) == 960


def test_a_head_that_was_stopped_asks_for_what_is_missing(network, few_digits, tmp_path):
    def stop(number, message):
        if number == 1 and isinstance(message, Counted):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        Away(network, "plain", PARAMS, few_digits, tmp_path / "away", Here(stop))
    engine = Here()
    away = Away(network, "plain", PARAMS, few_digits, tmp_path / "away", engine)
    assert [arguments[-1] for arguments in engine.started] == [1, 2]
    assert away.tree == at_home(network, "plain", PARAMS, few_digits, tmp_path / "home")
    assert not Away(network, "plain", PARAMS, few_digits, tmp_path / "away", Here()).progress


def test_features_that_nobody_keeps_do_not_cross(network, few_digits, tmp_path):
    engine = Here()
    Away(network, "mixed", PARAMS, few_digits, tmp_path / "away", engine)
    answers = [message for message in engine.messages if isinstance(message, Answered)]
    assert len(answers) == 2
    assert all(answer.features is None for answer in answers)
    assert all(answer.logits.dtype == "float16" for answer in answers)


def test_damaged_weights_are_refused(network, few_digits, tmp_path, monkeypatch):
    start = Here.start

    def altered(self, work, asked, weights, *others):
        weights = {name: value + 1 for name, value in weights.items()}
        return start(self, work, asked, weights, *others)

    monkeypatch.setattr(Here, "start", altered)
    with pytest.raises(WorkerError, match="the teacher's weights were damaged on their way"):
        Away(network, "plain", PARAMS, few_digits, tmp_path / "away", Here())


def test_another_network_of_that_name_is_refused(network, few_digits, tmp_path, monkeypatch):
    start = Here.start

    def altered(self, work, asked, *others):
        return start(self, work, replace(asked, own_network="0" * 64), *others)

    monkeypatch.setattr(Here, "start", altered)
    with pytest.raises(WorkerError, match=r"the code of .* here is not the head's"):
        Away(network, "plain", PARAMS, few_digits, tmp_path / "away", Here())
