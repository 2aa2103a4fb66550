"""What the entries of a params.yaml cost: floating-point operations and bytes, before anything runs.

Operations (FLOPs) are those of convolutions and linear layers, two for each multiply-add; all else
is a few percent of them. A backward pass takes twice the forward pass. How long that takes is for a
measured rate to say (`pipeline.rate`); bytes follow from the layout of the files.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import imagefolder
from pipeline.datasets import DatasetParams
from pipeline.distill import StudentParams
from pipeline.dump import DumpParams
from pipeline.fit import TrainingParams
from pipeline.hard_labels import BaselineParams, TeacherParams
from pipeline.models import build
from pipeline.params import read, section
from pipeline.report.params import EvaluationParams
from pipeline.store.codecs import CRC_BYTES, Codec
from pipeline.store.layout import (
    METADATA,
    PLAN_VIEWS_PER_CHUNK,
    GroupShape,
    group_arrays,
    metadata_files,
    root_metadata,
)
from pipeline.views import GROUPS

TRAINING_PASSES = 3  # forward, and twice as much backward

# Images a class: training set, and test set where the data set has one of its own.
CLASS_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "digits": ((178, 182, 177, 183, 181, 182, 181, 179, 174, 180), None),
    "cifar10": ((5000,) * 10, (1000,) * 10),
    "cifar100": ((500,) * 100, (100,) * 100),
}

_ = (METADATA, PLAN_VIEWS_PER_CHUNK, math, np, Iterable)
