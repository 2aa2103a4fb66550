"""All that the doctor looks at, in order."""

from pathlib import Path

from stages.doctor.dvc import check_dvc
from stages.doctor.environment import check_packages, check_python, check_torch, check_torchvision
from stages.doctor.finding import Finding, examined
from stages.doctor.project import Project, check_locks


def examine(params_path: Path) -> list[Finding]:
    """Look at the environment and at the project in the working folder."""
    project = Project(params_path)
    checks = {
        "Python": check_python,
        "packages": check_packages,
        "torch": check_torch,
        "torchvision": check_torchvision,
        "DVC": check_dvc,
        "parameters": project.check_params,
        "device": project.check_device,
        "data": project.check_data,
        "disk": project.check_disk,
        "locks": check_locks,
    }
    return [finding for topic, check in checks.items() for finding in examined(topic, check)]
