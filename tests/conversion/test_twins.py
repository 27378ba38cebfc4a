import numpy as np
import pytest
import simplejpeg

from cvrl_tf.conversion import twins


def frames(seed, count=twins.FRAMES, height=96, width=128, quality=90, mirrored=False, scale=1):
    """JPEGs of a coarse random pattern that moves down."""
    pattern = np.random.default_rng(seed).integers(0, 255, (12 + count, 16, 3))
    jpegs = []
    for t in range(count):
        image = np.kron(pattern[t : t + 12], np.ones((8, 8, 1))).astype(np.uint8)
        image = image[::scale, :: -scale if mirrored else scale]
        jpegs.append(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "420"))
    return jpegs


def test_frames_are_at_fixed_relative_times():
    assert twins.frame_numbers(100) == {10, 30, 50, 70, 90}
    assert twins.frame_numbers(2) == {0, 1}
    assert twins.frame_numbers(0) == set()


def test_a_signature_is_the_mean_of_parts_in_gray():
    image = np.zeros((40, 48, 3), np.uint8)
    image[:, 24:] = 200
    jpeg = simplejpeg.encode_jpeg(image, 95, "RGB", "444")
    found = twins.signature([jpeg])
    assert found.shape == (5, 16, 16) and found.dtype == np.uint8
    assert np.abs(found[..., :8].astype(int)).max() <= 2
    assert np.abs(found[..., 8:].astype(int) - 200).max() <= 2
    tiny = twins.signature([simplejpeg.encode_jpeg(image[:5, :7].copy(), 95, "RGB", "444")])
    assert tiny.shape == (5, 16, 16)


@pytest.mark.parametrize(
    "changed, mirrored",
    [({}, False), ({"quality": 30}, False), ({"scale": 2}, False), ({"mirrored": True}, True)],
)
def test_copies_are_twins_and_other_videos_are_not(changed, mirrored):
    videos = [twins.signature(frames(seed)) for seed in range(4)]
    videos += [None, twins.signature(frames(2, **changed))]
    (pair,) = twins.find(videos)
    assert (pair.first, pair.second, pair.mirrored) == (2, 5, mirrored)
    assert 0 <= pair.distance < 0.05
    (pair,) = twins.between(videos[5:], videos[:3])
    assert (pair.first, pair.second, pair.mirrored) == (0, 2, mirrored)


def test_videos_without_contrast_are_no_twins():
    black = simplejpeg.encode_jpeg(np.zeros((32, 32, 3), np.uint8), 90, "RGB", "420")
    assert twins.find([twins.signature([black] * 5)] * 3) == []


def shown(background, seed, amount=60):
    """Frames of a bright square at random places in front of a background."""
    places = np.random.default_rng(seed).integers(0, 48, (twins.FRAMES, 2))
    jpegs = []
    for y, x in places:
        image = background.copy()
        image[y : y + 16, x : x + 16] += np.uint8(amount)
        jpegs.append(simplejpeg.encode_jpeg(image, 90, "RGB", "420"))
    return twins.signature(jpegs)


def test_videos_of_a_fixed_camera_are_twins_only_if_the_same_moves():
    coarse = np.random.default_rng(0).integers(0, 190, (8, 8, 3))
    background = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
    videos = [shown(background, seed) for seed in (1, 2, 3, 1)]
    assert [(pair.first, pair.second) for pair in twins.find(videos)] == [(0, 3)]
    still = [shown(background, seed, amount=0) for seed in (1, 2)]
    assert [(pair.first, pair.second) for pair in twins.find(still)] == [(0, 1)]
