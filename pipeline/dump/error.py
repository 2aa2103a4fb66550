"""What a dump in bfloat16 costs: its logits against those of the same teacher in float32."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.network import Network
from pipeline.store.format.lossy import decode_logits, encode_logits
from pipeline.store.format.manifest import Header
from pipeline.store.write.difference import measure
from pipeline.views.batches import EpochData, ViewBatches
from pipeline.views.predict import predict

SAMPLE = (
    10_000  # images; enough for a share of changed classes of 1 % to be told to a tenth of that
)


def error_of(
    lower: Network, exact: Network, batches: ViewBatches, data: EpochData, header: Header
) -> dict[str, float]:
    """How logits that are read differ from the float16 of a float32 forward pass (`difference`).

    Measured on up to `SAMPLE` images of one view, evenly spread over the data set; what the group's
    codec costs is part of it.
    """
    batch_size, device = header.batch_size, batches.bank.device
    assert batch_size is not None, "views are dumped in batches"
    batches.start(data)
    chosen = torch.from_numpy(spread(batches.count)).to(device)

    def logits(network: Network) -> NDArray[np.float16]:
        def images_of(rows: Tensor) -> Tensor:
            return batches.images(chosen[rows])

        answers, _ = predict(network, images_of, len(chosen), batch_size, device)
        return answers.astype(np.float16)

    stored = encode_logits(header.codec, logits(lower))
    return measure(logits(exact), decode_logits(header.codec, stored, exact.num_classes)).facts()


def spread(count: int) -> NDArray[np.int64]:
    """Up to `SAMPLE` numbers below `count`, rising in even steps."""
    size = min(count, SAMPLE)
    return np.arange(size, dtype=np.int64) * count // size
