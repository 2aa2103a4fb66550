"""Work folders of the stages: their keys cover parameters, inputs, code and device."""

import json
from typing import Any

import torch

from pipeline.compute import versions
from pipeline.core.files import WORK, WorkFolder, work_key
from stages.code import code_digest


def open_work(facts: dict[str, Any], device: torch.device) -> WorkFolder:
    """The work folder of a computation on a device: the same facts find the same folder again.

    Work that other code, other versions or another kind of device did is not gone on with.
    """
    everything = {
        **facts,
        "device": device.type,
        "versions": versions(),
        "code": code_digest(),
    }
    return WorkFolder(WORK, work_key(json.loads(json.dumps(everything))))
