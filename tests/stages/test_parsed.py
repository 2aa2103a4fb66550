"""DVC parses a file of parameters once for as long as it does not change."""

from dvc.dependency import param
from dvc.fs import LocalFileSystem

from stages.dvc.parsed import parsed_once


def test_a_file_is_parsed_again_when_it_has_changed(tmp_path, monkeypatch):
    parsed, load = [], param.load_path
    monkeypatch.setattr(param, "load_path", lambda *a, **o: parsed.append(a) or load(*a, **o))
    counting = param.load_path
    path, fs = tmp_path / "params.yaml", LocalFileSystem()
    path.write_text("a: {b: 1}\n")
    with parsed_once():
        for _ in range(3):
            content = param.read_param_file(fs, str(path))
            assert content == {"a": {"b": 1}}
            content["a"]["b"] = 7  # nobody else's
        assert len(parsed) == 1
        path.write_text("a: {b: 2}\n")
        assert param.read_param_file(fs, str(path), ["a.b"], flatten=True) == {"a.b": 2}
        assert len(parsed) == 2
    assert param.load_path is counting
    param.read_param_file(fs, str(path))
    assert len(parsed) == 3
