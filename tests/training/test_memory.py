"""The estimate of the memory of a step, and the refusal of a step that does not fit."""

import keras
import numpy as np
import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.models import build_backbone
from cvrl_tf.models.resnet3d import BACKBONES, outputs_per_pixel
from cvrl_tf.training import memory
from cvrl_tf.training.config import NetworkConfig


def test_the_outputs_of_all_convolutions_are_counted():
    backbone = build_backbone("r3d_small")
    outputs = [layer.output for layer in backbone.layers if layer.name.endswith("_conv")]
    clip = np.zeros((1, 8, 64, 64, 3), np.float32)
    values = sum(np.size(output) for output in keras.Model(backbone.input, outputs)(clip))
    expected = values / (8 * 64 * 64)
    assert outputs_per_pixel(BACKBONES["r3d_small"]) == pytest.approx(expected)
    assert outputs_per_pixel(BACKBONES["r3d_50"]) == pytest.approx(110.75)


def test_what_does_not_fit_is_refused_before_it_is_tried(monkeypatch, one_replica):
    config = NetworkConfig(num_frames=32)  # R3D-50 at 224 pixels
    monkeypatch.setattr(memory, "free_bytes", lambda: 20e9)
    memory.check(config, "bfloat16", 4, one_replica)
    with pytest.raises(
        InputError,
        match=r"^A step on 128 clips of 32 frames of 224x224 pixels, r3d_50 in float32, takes about"
        r" \d+\.\d GB of memory, and 20.0 GB are free: lower batch_size \(\d+ clips fit\), crop_",
    ):
        memory.check(config, "float32", 128, one_replica)

    class Gpu:
        class extended:
            worker_devices = ("/job:localhost/replica:0/task:0/device:GPU:0",)

    memory.check(config, "float32", 128, Gpu)


def test_the_free_memory_of_this_machine():
    assert 2**20 < memory.free_bytes() < 2**50


def test_memory_is_proportional_to_clips_and_width():
    narrow, wide = (NetworkConfig(width_multiplier=width) for width in (1, 2))
    one = memory.step_bytes(narrow, "float32", 1)
    assert memory.step_bytes(wide, "float32", 3) == pytest.approx(6 * one)
    assert memory.step_bytes(narrow, "bfloat16", 1) == pytest.approx(one / 2)
    assert memory.step_bytes(narrow, "float32", 1, remat=True) == pytest.approx(one / 2)
