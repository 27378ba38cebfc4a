import io

import av
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_videos import draw, write_video

from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import read_video
from cvrl_tf.data import records
from cvrl_tf.errors import InputError


def _read(path, **options):
    return read_video(Entry("some/id", str(path), 3, "swim"), **options)


def _decode(video):
    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in video.frames])


def _assert_close(video, expected, tolerance=4.0):
    """Every frame within `tolerance` grey levels of what is expected, on average."""
    found = _decode(video)
    assert found.shape == np.shape(expected)
    differences = np.abs(found.astype(float) - expected).mean(axis=(1, 2, 3))
    assert differences.max() < tolerance, differences


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "height", "width"),
    [
        ("even.mp4", "libx264", "yuv420p", 48, 64),
        ("odd.mkv", "libx264", "yuv444p", 37, 51),
        ("odd.avi", "mpeg4", "yuv420p", 37, 51),
        ("with space, 'quote\", a:colon and é漢.mov", "libx264", "yuv420p", 64, 48),
    ],
)
def test_frames_are_those_of_the_source(tmp_path, name, codec, pixel_format, height, width):
    source = draw(12, height, width)
    path = write_video(tmp_path / name, source, 25, codec, pixel_format)
    video = _read(path)
    _assert_close(video, source)
    assert (video.height, video.width, video.frame_rate) == (height, width, 25.0)
    assert video.timestamps == [40_000 * index for index in range(12)]
    assert (video.video_id, video.path, video.label, video.label_name, video.start) == (
        ("some/id", path, 3, "swim", 0)
    )


def test_record_goes_through_the_reading_graph(tmp_path):
    source = draw(5, 24, 32)
    video = _read(write_video(tmp_path / "x.mp4", source))
    parsed = tf.function(records.parse)(tf.constant(records.serialize(video)))
    assert parsed["frames"].numpy().tolist() == video.frames
    assert parsed["label"].numpy() == 3
    assert parsed["id"].numpy() == b"some/id"
    decoded = tf.io.decode_jpeg(parsed["frames"][2]).numpy()
    assert np.abs(decoded.astype(float) - source[2]).mean() < 4


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (60, 90, 20, (20, 30)),
        (90, 60, 20, (30, 20)),
        (50, 100, 33, (33, 66)),
        (48, 64, 48, (48, 64)),
    ],
)
def test_short_side_is_the_shorter_one(tmp_path, height, width, short_side, expected):
    path = write_video(tmp_path / "x.mp4", draw(3, height, width))
    video = _read(path, short_side=short_side)
    assert (video.height, video.width) == expected
    # The picture is a gradient: small, it is the same gradient with fewer pixels.
    _assert_close(video, draw(3, *expected), tolerance=6)


def test_small_videos_are_not_enlarged(tmp_path):
    video = _read(write_video(tmp_path / "x.mp4", draw(2, 24, 32)), short_side=256)
    assert (video.height, video.width) == (24, 32)


def test_shrinking_does_not_alias(tmp_path):
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255  # one pixel wide: grey from afar, black or white to a naive resize
    path = write_video(tmp_path / "x.mkv", [stripes] * 2, pixel_format="yuv444p")
    assert np.abs(_decode(_read(path, short_side=24)).astype(float) - 127.5).max() < 12


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path, rotation):
    upright = draw(3, 48, 96)
    stored = [np.rot90(frame, -rotation // 90) for frame in upright]
    path = write_video(tmp_path / "x.mp4", stored, rotation=rotation)
    with av.open(path) as container:
        assert container.streams.video[0].height == (48 if rotation == 180 else 96)
    _assert_close(_read(path), upright)
    _assert_close(_read(path, short_side=24), draw(3, 24, 48), tolerance=6)


def test_quality_and_subsampling(tmp_path):
    path = write_video(tmp_path / "x.mp4", draw(2, 48, 64))
    low, high = (_read(path, quality=quality).frames[0] for quality in (30, 95))
    assert len(low) < len(high)
    image = Image.open(io.BytesIO(high))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert image.layer[0][1:3] == (2, 2)  # twice as many samples of brightness as of colour


def test_timestamps_of_a_variable_frame_rate_start_at_zero(tmp_path):
    times = [5000, 5040, 5100, 5250, 5300]
    path = write_video(tmp_path / "x.mkv", draw(5, 24, 32), milliseconds=times)
    assert _read(path).timestamps == [0, 40_000, 100_000, 250_000, 300_000]


def test_a_file_without_timestamps_counts_by_its_frame_rate(tmp_path):
    video = _read(write_video(tmp_path / "x.h264", draw(4, 24, 32)))
    assert video.frame_rate == 25.0  # FFmpeg's, for a bare stream
    assert video.timestamps == [0, 40_000, 80_000, 120_000]


def test_frames_have_the_size_of_the_first(tmp_path):
    content = b""
    for height in (24, 48, 16):
        part = tmp_path / "part.h264"
        write_video(part, draw(3, height, 32))
        content += part.read_bytes()
    joined = tmp_path / "joined.h264"
    joined.write_bytes(content)
    video = _read(joined)
    assert (video.height, video.width) == (24, 32)
    _assert_close(video, draw(3, 24, 32) * 3, tolerance=6)


def test_same_file_same_bytes(tmp_path):
    path = write_video(tmp_path / "x.mp4", draw(4, 90, 120))
    assert _read(path, short_side=40) == _read(path, short_side=40)


def _noise(count):
    return list(np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), np.uint8))


@pytest.mark.parametrize("name", ["x.avi", "x.mkv", "x.ts"])
def test_half_a_file_gives_its_frames(tmp_path, name):
    path = write_video(tmp_path / name, _noise(20), codec="mpeg4")
    whole = _read(path)
    with open(path, "rb+") as file:
        file.truncate(file.seek(0, io.SEEK_END) // 2)
    half = _read(path)
    assert 5 <= len(half.frames) <= 12
    assert half.frames[:5] == whole.frames[:5]
    assert len(half.timestamps) == len(half.frames)


def test_damage_in_the_middle_costs_only_what_is_around_it(tmp_path):
    path = write_video(tmp_path / "x.mp4", _noise(60))
    whole = _read(path)
    with open(path, "rb+") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(size // 2)
        file.write(bytes(size // 20))
    damaged = _read(path)
    assert 40 <= len(damaged.frames) <= 60
    assert damaged.frames[:20] == whole.frames[:20]


def _audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _half_mp4(path):
    write_video(path, _noise(10))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # its index is at the end


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be opened as a video (No such file"),
        (lambda path: path.touch(), "cannot be opened as a video (Invalid data"),
        (lambda path: path.write_text("hello\n" * 1000), "cannot be opened as a video (Invalid"),
        (lambda path: path.mkdir(), "cannot be opened as a video (Is a directory)"),
        (_half_mp4, "cannot be opened as a video (Invalid data"),
        (_audio, "has no video stream that can be decoded"),
    ],
    ids=["missing", "empty", "text", "directory", "half", "audio"],
)
def test_what_is_no_video_is_named(tmp_path, make, message):
    path = tmp_path / "x.mp4"
    make(path)
    with pytest.raises(InputError) as caught:
        _read(path)
    assert str(caught.value).startswith(f"{path} {message}")


def test_a_stream_without_a_frame_is_named(tmp_path):
    path = tmp_path / "x.mp4"
    write_video(path, _noise(4))
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no frame that can be decoded: replace or remove"):
        _read(path)
