import io
import os
import tempfile

import av
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_videos import draw, write_video

from cvrl_tf.conversion import frames
from cvrl_tf.conversion.catalogs import Entry
from cvrl_tf.conversion.frames import Settings, VideoError, estimate_bytes, read_video
from cvrl_tf.data import records
from tools.pressure.odd_videos import (
    cut_off,
    edit_packets,
    garble,
    write,
    write_thumbnail_first,
    write_with_sound,
)


def _read(path, damage="", **settings):
    video, found = read_video(Entry("some/id", str(path), 3, "swim", 7), Settings(**settings))
    assert found == damage
    return video


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
        ("some/id", path, 3, "swim", 7)
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


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.avi"])
def test_metadata_need_not_be_utf_8(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.height, stream.width = 48, 64
        stream.pix_fmt = "yuv420p"
        container.metadata["title"] = "container title"
        stream.metadata["title"] = "stream title"
        for image in draw(5, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert content.count(b"container title") == content.count(b"stream title") == 1
    path.write_bytes(
        content.replace(b"r title", b"r\xe9\xfftle").replace(b"m ti", b"m\xe9\xfe\xff")
    )
    assert len(_read(path).frames) == 5


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


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), lambda frame: frame[::-1]),
        ((0, 1, 1, 0), lambda frame: frame.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda frame: frame[::-1, ::-1].swapaxes(0, 1)),
    ],
    ids=["across", "down", "diagonal", "other diagonal"],
)
def test_mirrored_frames_are_turned_back(tmp_path, matrix, turned):
    stored = draw(3, 48, 96)
    path = write_video(tmp_path / "x.mp4", stored, matrix=matrix)
    _assert_close(_read(path), [turned(frame) for frame in stored])


def test_a_slight_tilt_turns_nothing(tmp_path):
    source = draw(3, 48, 96)
    path = write_video(tmp_path / "x.mp4", source, rotation=10)
    _assert_close(_read(path), source)


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


def _truncate(path, fraction):
    with open(path, "rb+") as file:
        file.truncate(int(file.seek(0, io.SEEK_END) * fraction))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("x.avi", "damaged frames: 1, damaged packets: 1"),
        ("x.mkv", "ends after 2.9 of 6.0 s"),
        ("x.mp4", "damaged packets: 1, packets that cannot be decoded: 1, ends after 2.9 of 6.0 s"),
    ],
)
def test_half_a_file_gives_its_frames_and_says_so(tmp_path, name, damage):
    path = tmp_path / name
    write_video(path, _noise(60), codec="mpeg4" if name == "x.avi" else "libx264", index_first=True)
    whole = _read(path)
    _truncate(path, 0.5)
    half = _read(path, damage)
    assert 28 <= len(half.frames) <= 30
    assert half.frames[:28] == whole.frames[:28]
    assert half.timestamps == whole.timestamps[: len(half.frames)]


def test_half_a_transport_stream_gives_its_frames(tmp_path):
    path = write_video(tmp_path / "x.ts", _noise(20), codec="mpeg4")
    whole = _read(path)
    _truncate(path, 0.5)
    half = _read(path)  # such a stream does not say how long it should be
    assert 5 <= len(half.frames) <= 12
    assert half.frames[:5] == whole.frames[:5]


def test_damage_in_the_middle_costs_only_what_is_around_it(tmp_path):
    path = write_video(tmp_path / "x.mp4", _noise(60))
    whole = _read(path)
    with open(path, "rb+") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(size // 2)
        file.write(bytes(size // 20))
    damaged = _read(path, "damaged frames: 1, packets that cannot be decoded: 3")
    assert len(damaged.frames) == 57
    assert damaged.frames[:20] == whole.frames[:20]


def test_a_stream_that_appears_late_costs_nothing(tmp_path):
    path = write_with_sound(tmp_path / "x.flv", draw(90, 24, 32), 0, 8, streams=1)
    with av.open(path) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    video = _read(path)
    assert len(video.frames) == 90
    assert (video.frame_rate, video.timestamps[-1]) == (10.0, 8_900_000)


def test_a_video_that_appears_late_is_found(tmp_path):
    path = write_with_sound(tmp_path / "x.flv", draw(12, 24, 32), 20, 0, streams=4)
    with av.open(path) as container:
        assert [stream.type for stream in container.streams] == ["audio"]
    video = _read(path)
    assert (len(video.frames), video.timestamps[-1]) == (12, 1_100_000)


@pytest.mark.parametrize("codec_id", [b"V_MJPEG", b"V_NONAM"])
def test_the_film_is_taken_not_the_thumbnail_before_it(tmp_path, codec_id):
    source = draw(20, 48, 64)
    video = _read(write_thumbnail_first(tmp_path / "x.mkv", source, codec_id))
    assert (video.height, video.width) == (48, 64)
    _assert_close(video, source)


@pytest.mark.parametrize(("name", "codec"), [("x.avi", "mpeg4"), ("x.mp4", "libx264")])
def test_frames_that_are_all_damaged_are_no_video(tmp_path, name, codec):
    path = write_video(tmp_path / f"whole_{name}", _noise(20), codec=codec)
    edit_packets(path, tmp_path / name, garble)
    with pytest.raises(VideoError) as caught:
        _read(tmp_path / name)
    assert caught.value.reason == "no frame that can be decoded"
    assert "damaged frames: " in caught.value.detail  # how many depends on FFmpeg's version


def test_what_is_encrypted_is_not_decoded(tmp_path):
    muxing = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "00112233445566778899aabbccddeeff",
        "encryption_kid": "0123456789abcdef0123456789abcdef",
    }
    path = write(tmp_path / "x.mp4", _noise(30), muxing=muxing)
    with pytest.raises(VideoError) as caught:
        _read(path)
    assert caught.value.reason == "no frame that can be decoded"
    assert caught.value.detail == "encrypted packets: 30, ends after 0.0 of 3.0 s"


def test_packets_without_data_repeat_a_frame(tmp_path):
    source = draw(20, 24, 32)
    path = write_video(tmp_path / "whole.nut", source, codec="mpeg4")
    number = iter(range(20))
    # What Theora stores of a frame that is shown again; the first frame has to be there.
    edit_packets(path, tmp_path / "x.nut", lambda data: b"" if next(number) % 4 == 3 else data)
    video = _read(tmp_path / "x.nut")
    kept = [index for index in range(20) if index % 4 != 3]
    assert video.timestamps == [100_000 * index for index in kept]


@pytest.mark.parametrize("name", ["x.flv", "x.mkv"])
def test_a_video_that_begins_late_is_whole(tmp_path, name):
    path = write_with_sound(tmp_path / name, draw(30, 24, 32), 5, 0)
    video = _read(path)
    assert (len(video.frames), video.timestamps[0], video.timestamps[-1]) == (30, 0, 2_900_000)


def test_a_video_that_begins_late_and_ends_early_is_not(tmp_path):
    path = write_with_sound(tmp_path / "x.mkv", _noise(60), 5, 0)
    _truncate(path, 0.7)
    with av.open(path) as container:
        seen = [packet.pts for packet in container.demux(video=0) if packet.size]
    end = seen[-1] / 1000 - 5 + 0.1
    _read(path, f"ends after {end:.1f} of 6.0 s")


def test_a_frame_rate_that_cannot_be_is_not_stored(tmp_path):
    times = [40 * index for index in range(25)]
    path = write_video(tmp_path / "x.mkv", draw(25, 24, 32), rate=60000, milliseconds=times)
    with av.open(path) as container:
        assert container.streams.video[0].average_rate == 30000
    assert _read(path).frame_rate == 25.0
    assert _read(path, fps=12.5).frame_rate == 12.5
    assert _read(path, max_seconds=0.5).frame_rate == 25.0


def test_a_long_gap_does_not_make_the_last_frame_long(tmp_path):
    times = [40 * index + (3_600_000 if index > 11 else 0) for index in range(25)]
    video = _read(write_video(tmp_path / "x.mp4", draw(25, 24, 32), 25, milliseconds=times))
    assert video.timestamps[-1] == 3_600_960_000
    assert video.frame_rate == pytest.approx(25 / 3601, rel=0.05)
    example = tf.train.SequenceExample.FromString(records.serialize(video))
    end = example.context.feature["clip/end/timestamp"].int64_list.value[0]
    assert end == 7 + 3_600_960_000 + 40_000


def test_columns_that_the_file_cuts_off_are_not_shown(tmp_path):
    source = draw(4, 240, 336)
    path = write_video(tmp_path / "whole.mp4", source)
    cut_off(path, tmp_path / "x.mkv", left=16, top=16)
    video = _read(tmp_path / "x.mkv")
    assert (video.height, video.width) == (224, 320)
    _assert_close(video, [frame[16:, 16:] for frame in source])


def test_an_error_of_the_container_is_not_one_of_permissions(tmp_path, monkeypatch):
    path = write_video(tmp_path / "x.mp4", draw(2, 24, 32))

    def refuse(*arguments, **options):
        raise av.error.PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(VideoError) as caught:
        _read(path)
    assert caught.value.reason == "not a video that can be opened"
    assert caught.value.detail == "Operation not permitted"


def test_min_frames_refuses_what_is_too_short(tmp_path):
    path = write_video(tmp_path / "x.mkv", _noise(60))
    assert len(_read(path, min_frames=60).frames) == 60
    _truncate(path, 0.5)
    with pytest.raises(VideoError) as caught:
        _read(path, min_frames=30)
    assert caught.value.reason == "fewer frames than min_frames=30"
    assert (caught.value.detail, caught.value.frames) == ("ends after 2.9 of 6.0 s", 29)


def test_a_video_of_one_frame(tmp_path):
    source = draw(1, 24, 32)
    video = _read(write_video(tmp_path / "x.mp4", source))
    _assert_close(video, source)
    assert video.timestamps == [0]
    assert len(_read(tmp_path / "x.mp4", fps=1, max_seconds=0.01).frames) == 1


def test_frames_come_in_the_order_of_display(tmp_path):
    source = draw(20, 24, 32)
    path = write_video(tmp_path / "x.mp4", source, b_frames=3)
    with av.open(path) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert pts != sorted(pts)
    video = _read(path)
    _assert_close(video, source)
    assert video.timestamps == [100_000 * index for index in range(20)]


def test_max_seconds_keeps_the_start(tmp_path):
    path = write_video(tmp_path / "x.mp4", draw(20, 24, 32))
    whole = _read(path)
    assert _read(path, max_seconds=0.5).frames == whole.frames[:5]
    assert _read(path, max_seconds=0.51).frames == whole.frames[:6]
    assert _read(path, max_seconds=99.0).frames == whole.frames


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])  # times in 1/15360 s and in whole ms
@pytest.mark.parametrize(
    ("fps", "kept"),
    [
        (15, [0, 2, 4, 6, 8, 10]),
        (10, [0, 3, 6, 9]),
        (12, [0, 2, 5, 7, 10]),  # looked at 0, 2.5, 5, 7.5 and 10 frames after the first
        (29.97, list(range(12))),
        (60, list(range(12))),
        (1, [0]),
    ],
)
def test_fps_keeps_the_frame_on_display_at_each_tick(tmp_path, name, fps, kept):
    path = write_video(tmp_path / name, draw(12, 24, 32), rate=30)
    whole, video = _read(path), _read(path, fps=fps)
    assert video.frames == [whole.frames[index] for index in kept]
    assert video.timestamps == [whole.timestamps[index] for index in kept]
    assert video.frame_rate == min(fps, 30)


def test_fps_of_a_variable_frame_rate_repeats_nothing(tmp_path):
    times = [0, 40, 80, 120, 500, 900, 940, 980, 1020]
    path = write_video(tmp_path / "x.mkv", draw(9, 24, 32), milliseconds=times)
    # Looked at every 0.1 s: the frame at 120 ms is on display from 0.2 to 0.4 s and kept once.
    kept = [0, 80_000, 120_000, 500_000, 900_000, 980_000, 1_020_000]
    assert _read(path, fps=10).timestamps == kept
    # The frame at 500 ms is still on display at 0.8 s.
    assert _read(path, fps=5, max_seconds=0.9).timestamps == [0, 120_000, 500_000]


def test_a_time_that_goes_back_continues_by_the_frame_rate(tmp_path):
    parts = []
    for index in range(2):
        write_video(tmp_path / f"{index}.ts", draw(5, 24, 32))
        parts.append((tmp_path / f"{index}.ts").read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    video = _read(tmp_path / "both.ts", "damaged packets: 1")  # the first of the second part
    steps = np.diff(video.timestamps)
    assert len(video.frames) == 10
    assert (steps > 0).all()
    assert np.delete(steps, 4).tolist() == [100_000] * 8


def test_a_record_that_would_be_too_large_is_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "x.mp4", _noise(20))
    sizes = np.cumsum([len(frame) for frame in _read(path).frames])
    monkeypatch.setattr(frames, "MAX_RECORD_BYTES", int(sizes[11]))
    assert len(_read(path, max_seconds=1.2).frames) == 12
    with pytest.raises(VideoError) as caught:
        _read(path)
    assert caught.value.reason == "too long for one record of 0 MB"
    assert caught.value.detail == "full after 1.2 s"
    assert caught.value.frames == 13


@pytest.mark.parametrize("settings", [{}, {"max_seconds": 3.0}, {"max_seconds": 1.0, "fps": 5}])
def test_size_is_estimated_from_the_start(tmp_path, settings):
    path = write_video(tmp_path / "x.mkv", _noise(60))
    settings = Settings(**settings)
    entry, seen = Entry("id", path, None, None), []
    estimate = estimate_bytes(entry, settings, lambda: seen.append(1))
    video, _ = read_video(entry, settings)
    assert estimate == pytest.approx(sum(map(len, video.frames)), rel=0.1)
    assert len(seen) <= 21


def _audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _half_mp4(path):
    write_video(path, _noise(10))
    _truncate(path, 0.5)  # its index is at the end


def _no_frames(path):
    write_video(path, _noise(4))
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "reason", "detail"),
    [
        (lambda path: None, "missing", ""),
        (lambda path: path.symlink_to("nowhere"), "link to nowhere", ""),
        (lambda path: path.symlink_to(path), "cannot be read", "Too many levels of symbolic links"),
        (lambda path: path.touch(), "empty file", ""),
        (lambda path: path.mkdir(), "a directory", ""),
        (os.mkfifo, "not a file", ""),
        (
            lambda path: path.write_text("hello\n" * 1000),
            "not a video that can be opened",
            "Invalid data found when processing input",
        ),
        (_half_mp4, "not a video that can be opened", "Invalid data found when processing input"),
        (_audio, "no video stream", ""),
        (_no_frames, "no frame that can be decoded", "packets that cannot be decoded: 4"),
    ],
    ids=[
        "missing",
        "link",
        "loop",
        "empty",
        "directory",
        "pipe",
        "text",
        "half",
        "audio",
        "no frames",
    ],
)
def test_what_is_no_video_is_named(tmp_path, make, reason, detail):
    path = tmp_path / "x.mp4"
    make(path)
    for read in (read_video, lambda entry: estimate_bytes(entry, Settings(), lambda: None)):
        with pytest.raises(VideoError) as caught:
            read(Entry("id", str(path), None, None))
        assert (caught.value.reason, caught.value.detail) == (reason, detail)
        assert caught.value.frames == 0
        assert str(caught.value) == f"{path}: {reason}" + f" ({detail})" * bool(detail)


def test_a_file_without_permission_is_named():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = write_video(f"{directory}/x.mp4", draw(2, 24, 32))
        os.chmod(path, 0)
        try:
            if user == 0:  # root may read all: be nobody for a moment
                os.seteuid(65534)
            with pytest.raises(VideoError) as caught:
                read_video(Entry("id", path, None, None))
        finally:
            os.seteuid(user)
    assert caught.value.reason == "no permission to read it"


def test_a_path_below_a_file_is_missing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match="x.mp4: missing$"):
        read_video(Entry("id", str(tmp_path / "file" / "x.mp4"), None, None))


@pytest.mark.parametrize("name", ["whole.mp4", "whole.ts", "whole.flv", "whole.webm", "cut.mp4"])
def test_only_needed_frames_are_kept(tmp_path, name):
    """Files that declare their number of frames, that declare none, and that declare too many."""
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = write_video(tmp_path / name, draw(60, 48, 64), codec=codec, index_first=name[0] == "c")
    if name == "cut.mp4":
        with open(path, "rb+") as file:
            file.truncate(file.seek(0, 2) // 2)
    entry = Entry("a", path, 3, "dive")
    whole, damage = frames.read_video(entry)
    asked = []

    def needed(count):
        asked.append(count)
        return {0, count // 2, count - 1} if count else set()

    video, same_damage = frames.read_needed_frames(entry, needed)
    count = len(whole.frames)
    assert (len(video.frames), same_damage) == (count, damage)
    assert (count < 60) == (name == "cut.mp4") and asked[-1] == count
    kept = {number for number, frame in enumerate(video.frames) if frame}
    assert needed(count) <= kept <= needed(count) | needed(60)
    assert [video.frames[number] for number in kept] == [whole.frames[number] for number in kept]
    assert video.timestamps == whole.timestamps
    assert (video.label, video.frame_rate) == (3, whole.frame_rate)
