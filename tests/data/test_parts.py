import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cvrl_tf.data.parts import HOST_BYTES, PART_BYTES, Parts, cut_batch

PAPER = 2 * 16 * 224 * 224 * 3  # bytes of the two clips of a video, before their colours change
SMALL = 2 * 8 * 64 * 64 * 3


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((32, 4 * SMALL), Parts(1, 1)),  # flags/small
        ((32, 4 * SMALL, 4), Parts(4, 4)),
        ((128, PAPER), Parts(4, 4)),  # one of eight GPUs
        ((128, 4 * PAPER), Parts(16, 16)),  # with --augment_on=host
        ((1024, PAPER, 8), Parts(32, 32)),  # one GPU
        ((1024, PAPER, 8, 1024 * PAPER), Parts(32, 1)),  # a CPU, which holds a batch meanwhile
        ((512, PAPER, 1, 512 * PAPER), Parts(16, 16)),
        ((640, PAPER, 1, 640 * PAPER), Parts(16, 10)),
        ((127, PAPER), Parts(1, 1)),  # a prime number: not 127 parts
        ((8, 10 * PART_BYTES), Parts(8, 1)),
    ],
)
def test_parts_of_known_batches(arguments, parts):
    assert cut_batch(*arguments) == parts


@given(
    micro_batch=st.integers(1, 300),
    micro_batches=st.integers(1, 16),
    video_bytes=st.floats(1e3, 1e8),
    held=st.booleans(),
)
def test_parts_divide_micro_batches_and_the_host_holds_what_fits(
    micro_batch, micro_batches, video_bytes, held
):
    num_videos = micro_batch * micro_batches
    batch_bytes = num_videos * video_bytes
    held_bytes = batch_bytes if held else 0.0
    parts = cut_batch(num_videos, video_bytes, micro_batches, held_bytes)
    size = parts.size(num_videos)
    assert size * parts.number == num_videos and micro_batch % size == 0
    assert 1 <= parts.ahead <= parts.number
    if micro_batch * video_bytes <= PART_BYTES:
        assert size == micro_batch
    if parts.ahead > 1:
        assert held_bytes + (parts.ahead + 2) * size * video_bytes <= HOST_BYTES


def test_batches_are_lists_of_parts():
    parts = Parts(3, 1)
    batches = parts.batches(tf.data.Dataset.counter().batch(parts.size(6)))
    found = [[part.numpy().tolist() for part in next(batches)] for _ in range(2)]
    assert found == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
