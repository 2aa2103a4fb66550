"""A project all of whose stages are done, as far as dvc.lock, disk and cache tell; nothing is computed."""

import hashlib
import json
import re

from project_samples import ROOT, new_project, yaml

from pipeline.core.files import STORES
from stages.dvc.lock import NETWORKS, digest_of, folder_digest, lookup

STAGES = yaml.load(ROOT / "dvc.yaml")["stages"]


def done_project(folder, params, files=4):
    """A copy of the project with results of a few bytes, and the dvc.lock that fits them."""
    project = new_project(folder, params)
    digest_of.cache_clear()
    stages, outs = {}, {}
    for name, stage in resolved(params).items():
        made = [write_out(folder, path, files) for path in paths(stage, "outs", "metrics")]
        outs |= {out["path"]: out["md5"] for out in made}
        stages[name] = {
            "cmd": stage["cmd"],
            "deps": [{"path": path, "md5": digest(folder, path, outs)} for path in stage["deps"]],
            "params": {"params.yaml": {key: lookup(params, key) for key in stage["params"]}},
            "outs": made,
        }
    with (folder / "dvc.lock").open("w") as file:
        yaml.dump({"schema": "2.0", "stages": stages}, file)
    return project


def resolved(params):
    """The stages of dvc.yaml, one for each entry of the sections that it goes through."""
    stages = {}
    for name, stage in STAGES.items():
        if "foreach" not in stage:
            stages[name] = stage
            continue
        section = re.fullmatch(r"\$\{(\w+)\}", stage["foreach"])[1]
        for key, item in params[section].items():
            stages[f"{name}@{key}"] = filled(stage["do"], key, item)
    return stages


def filled(template, key, item):
    text = json.dumps(template).replace("${key}", key)
    return json.loads(re.sub(r"\$\{item\.(\w+)\}", lambda found: str(item[found[1]]), text))


def paths(stage, *sections):
    entries = [entry for section in sections for entry in stage.get(section, ())]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def write_out(folder, path, files):
    place = folder / path
    if place.suffix in (".txt", ".json", ".html", ".md", ".csv"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)
        return {"path": path, "md5": digest_of(place), "size": len(path)}
    names = [f"part-{number}" for number in range(files)] + ["plain/part", "mixed/part"]
    for name in [*names, "record.json", "replicate-0/weights.safetensors"]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"{path} {name}")
    listed = sorted(file for file in place.rglob("*") if file.is_file())
    inside = {file.relative_to(place).as_posix(): md5(file.read_bytes()) for file in listed}
    out = {"path": path, "md5": folder_digest(inside), "nfiles": len(listed)}
    cached = folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text(json.dumps([{"md5": m, "relpath": n} for n, m in sorted(inside.items())]))
    return {**out, "size": sum(file.stat().st_size for file in listed)}


def digest(folder, path, outs):
    if path in NETWORKS:  # without its .gitignore, as .dvcignore says
        files = [file for file in (folder / path).rglob("*") if file.is_file()]
        names = {
            file.relative_to(folder / path).as_posix(): md5(file.read_bytes()) for file in files
        }
        return folder_digest({name: m for name, m in names.items() if name != ".gitignore"})
    return outs.get(path) or digest_of(folder / path)


def md5(content):
    return hashlib.md5(content).hexdigest()


def store_files(folder, name):
    return sorted((folder / STORES / f"{name}.zarr").rglob("*"))
