"""`decant use`: a profile becomes params.yaml."""

import shutil

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from workspaces import ROOT, profiles, yaml

from stages.cli import main


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the profiles and dvc.yaml, and the default params.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    for path in profiles():
        shutil.copy(path, "profiles")
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    (tmp_path / "params.yaml").write_bytes(content_of("digits"))
    return tmp_path


def content_of(name):
    """A profile as params.yaml: the schema is beside it."""
    return profile(name).read_bytes().replace(b"$schema=../params", b"$schema=params", 1)


def use(*arguments, code=0):
    result = CliRunner().invoke(main, ["use", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_params_are_those_of_the_profile_and_dvc_yaml_is_everybody_s(project):
    use("cifar100-smoke")
    assert (project / "params.yaml").read_bytes() == content_of("cifar100-smoke")
    assert (project / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


def test_a_name_in_brackets_is_printed_whole(project):
    shutil.copy(profile("digits"), "mine [v2] :x:.yaml")
    assert use("mine [v2] :x:.yaml") == "params.yaml is now mine [v2] :x:.yaml\n"


def test_values_count_not_how_they_are_written(project):
    """`dvc exp run -S` breaks long lines in another way."""
    content = yaml.load(profile("cifar100-smoke"))
    with (project / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    assert (project / "params.yaml").read_bytes() != profile("cifar100-smoke").read_bytes()
    use("digits")
    assert (project / "params.yaml").read_bytes() == content_of("digits")
    content["students"] = {}
    with (project / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    assert "changes of your own" in use("digits", code=1)


def profile(name):
    return ROOT / "profiles" / f"{name}.yaml"


def test_an_unknown_profile(project):
    assert "cifar100-smoke" in use("cifar1000", code=1)
    assert (project / "params.yaml").read_bytes() == content_of("digits")


def test_changes_of_ones_own_are_replaced_only_by_force(project):
    own = (project / "params.yaml").read_text().replace("epochs: 16", "epochs: 17")
    (project / "params.yaml").write_text(own)
    output = use("cifar100-smoke", code=1)
    assert "changes of your own" in output
    assert "--force" in output
    assert (project / "params.yaml").read_text() == own
    # Kept as a profile, they can be left and come back to.
    shutil.copy(project / "params.yaml", project / "profiles/mine.yaml")
    use("cifar100-smoke")
    use("mine")
    assert (
        (project / "params.yaml").read_text().splitlines()[0].endswith("$schema=params.schema.json")
    )
    assert (project / "params.yaml").read_text() == own
    (project / "profiles/mine.yaml").unlink()
    use("digits", "--force")
    assert (project / "params.yaml").read_bytes() == content_of("digits")
