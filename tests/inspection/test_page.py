import base64
import dataclasses
import html.parser
import re

import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.inspection import dataset, page

NASTY = """<script>alert('x')</script>&"quoted\""""


class _Text(html.parser.HTMLParser):
    """The text, the tags and the images of a page."""

    def __init__(self, content):
        super().__init__()
        self.text, self.tags, self.images, self.open = "", [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in ("img", "meta", "line", "rect", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.text += data


def _page(tmp_path, videos, seed=0):
    path = write_shard(tmp_path / "train-00000-of-00001", videos)
    return page.render(dataset.inspect([path], workers=0), str(tmp_path), seed)


def test_everything_is_on_the_page_and_escaped(tmp_path):
    nasty = dataclasses.replace(
        make_video(0, 12), video_id=NASTY, label_name=NASTY, frame_rate=29.97
    )
    broken = make_video(1, 3, label=1)
    broken = dataclasses.replace(broken, frames=[*broken.frames[:2], b"no JPEG " + NASTY.encode()])
    (tmp_path / "failures.csv").write_text(
        f"split,video_id,reason,kept\ntrain,{NASTY},{NASTY}: x,no\n"
        "train,b,cut,yes\ntrain,c,cut,yes\n"
    )
    content = _page(tmp_path, [nasty, broken])
    found = _Text(content)
    assert "script" not in found.tags and found.open == []
    assert found.text.count(NASTY) >= 4  # a video, its class, a failure and its reason
    assert "12 frames, 29.97 fps, 48x40" in found.text
    assert "1 problem found" in found.text and "failed to convert: 1" in found.text
    assert "Damaged videos that were kept: 2" in found.text and "2 × cut" in found.text
    assert "1 of 3 frames cannot be decoded (first: frame 2, not a JPEG image)" in found.text
    # Only the intact video is shown; its frames are recovered.
    assert [image["alt"] for image in found.images] == [
        f"frame {index}" for index in (0, 2, 3, 5, 6, 8, 9, 11)
    ]
    shown = base64.b64decode(found.images[0]["src"].removeprefix("data:image/jpeg;base64,"))
    want = tf.cast(tf.io.decode_jpeg(nasty.frames[0]), tf.float32)
    error = tf.cast(tf.io.decode_jpeg(shown), tf.float32) - want
    assert float(tf.reduce_mean(tf.abs(error))) < 8
    # It stands alone.
    assert not re.search(r"(src|href)=\"(?!data:|#)", content) and "http" not in content


def test_the_seed_chooses_the_videos(tmp_path):
    videos = [make_video(index, 2, 16, 16) for index in range(60)]
    one, same, other = (_page(tmp_path, videos, seed) for seed in (0, 0, 1))
    assert one == same
    shown = [re.findall(r"<b>(video_\d+)</b>", content) for content in (one, other)]
    assert len(set(shown[0])) == len(set(shown[1])) == page.VIDEOS
    assert shown[0] != shown[1]


def test_many_classes_and_problems_stay_bounded(tmp_path):
    videos = [
        dataclasses.replace(
            make_video(0, 2, 16, 16, label=index),
            video_id=f"v{index}",
            label_name=f"making sandwich {index}",
            height=17,
        )
        for index in range(600)
    ]
    content = _page(tmp_path, videos)
    found = _Text(content)
    assert all(f"making sandwich {index}" in found.text for index in range(600))
    assert "600 problems found" in found.text and "And 100 more." in found.text
    assert content.count("do not have the size") == page.ROWS
    assert len(content) < 600_000


def test_unlabelled_videos(tmp_path):
    found = _Text(_page(tmp_path, [make_video(0, 2, label=None)]))
    assert "No video has a label." in found.text and "No problems found" in found.text
    assert len(found.images) == 2


def test_histogram_bins_hold_every_video():
    histogram = page._histogram("x", [10.0] * 300 + [20.0] * 300 + [299.0] * 3 + [90_000], True)
    counts = {bin_["name"]: bin_["count"] for bin_ in histogram["bins"] if bin_["count"]}
    assert counts == {"10 to 19": 300, "20 to 29": 300, "290 and more (longest: 90000)": 4}
    assert (histogram["end"], histogram["ticks"]) == (300, [0, 50, 100, 150, 200, 250, 300])
    seconds = page._histogram("x", [0.05, 0.31, 0.32], whole=False)
    assert sum(bin_["count"] for bin_ in seconds["bins"]) == 3
    assert page._histogram("x", [], whole=True)["bins"] == []
