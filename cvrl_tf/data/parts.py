"""How a batch is cut on its way to the device, so that the host holds little more than one.

    records -> parts, a few of them ahead -> a step, which takes all parts of a batch

A part costs its bytes three times: it is collected from its videos, copied into one tensor, and
waits for the step. What a step computes does not depend on the parts.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

PART_BYTES = 200e6
HOST_BYTES = 5.5e9


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a replica's share of a batch, one after another, of the same size.

    Attributes:
      number: of them.
      ahead: how many are made before a step asks for them, at least 1.
    """

    number: int = 1
    ahead: int = 1

    def size(self, batch_size: int) -> int:
        """Videos of a part of a replica's share of `batch_size` videos."""
        return batch_size // self.number

    def batches(self, parts: tf.data.Dataset) -> Iterator[list[Any]]:
        """The batches of a dataset of parts, endless as it is, each a list of parts.

        Whoever takes a batch drops the one before it first, or both are in memory.
        """
        stream = iter(parts)
        while True:
            yield [next(stream) for _ in range(self.number)]


def cut_batch(
    num_videos: int, video_bytes: float, micro_batches: int = 1, held_bytes: float = 0.0
) -> Parts:
    """Cuts a batch into parts of about `PART_BYTES`.

    A micro-batch that is smaller is one part. The parts of a whole batch are made ahead, fewer
    where the host would hold more than `HOST_BYTES` otherwise.

    Args:
      num_videos: of a replica's share of a batch, a multiple of `micro_batches`.
      video_bytes: that a video takes in it.
      micro_batches: into which a step splits it; none shares a part with another.
      held_bytes: that the host holds of a batch during a step; 0 where the devices hold it.
    """
    micro_batch = num_videos // micro_batches
    sizes = [size for size in range(1, micro_batch + 1) if micro_batch % size == 0]
    size = min(sizes, key=lambda size: abs(math.log(size * video_bytes / PART_BYTES)))
    number, part_bytes = num_videos // size, size * video_bytes
    fitting = int((HOST_BYTES - held_bytes) / part_bytes) - 2
    return Parts(number, max(1, min(number, fitting)))
