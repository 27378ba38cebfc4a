import base64
import html
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from small_records import make_video, write_shard

from cvrl_tf.data.clips import ClipSpec
from cvrl_tf.data.labels import read_labels
from cvrl_tf.data.source import Source
from cvrl_tf.evaluation import knn, neighbor_page, report, thumbnails
from cvrl_tf.evaluation.classification import LabelledData, Task
from cvrl_tf.evaluation.features import Features
from cvrl_tf.evaluation.views import EvaluationViews

CLIP = ClipSpec(frames=8, stride=2, size=32)
NASTY = """<script>alert('x')</script>&"quoted\""""


class _Page(html.parser.HTMLParser):
    """The queries of a page, and its text."""

    def __init__(self, content):
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.queries = []  # class, id, and of each tile its classes and label
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = attributes.get("class", "").split()
        self.tags.append(tag)
        if "query" in classes:
            self.queries.append((classes[1], attributes["id"], []))
        elif "tile" in classes:
            self.queries[-1][2].append(classes[1])
        if tag not in ("input", "meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def _features(angles, labels, prefix):
    radians = np.radians(angles)
    values = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype("float32")
    return Features(values, np.array(labels), [f"{prefix}_{index}" for index in range(len(labels))])


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Six training and three test videos; the third is classified as class 1."""
    directory = tmp_path_factory.mktemp("page")
    data = []
    for name, first, labels in (("train-*", 0, [0, 0, 0, 1, 1, 1]), ("test-*", 10, [0, 1, 0])):
        videos = [make_video(first + i, 16, label=label) for i, label in enumerate(labels)]
        source = Source(name, [write_shard(directory / name, videos)]).indexed()
        data.append(LabelledData(source, read_labels(source)))
    task = Task(*data, ["dive", NASTY])
    found = knn.classify(
        _features([0, 5, 10, 80, 85, 90], [0, 0, 0, 1, 1, 1], "train"),
        _features([3, 88, 89], [0, 1, 0], "test"),
        [3],
    )
    result = knn.describe(
        found,
        report.Checkpoint("runs/first/checkpoints/ckpt-6", 6, "00"),
        task,
        EvaluationViews(CLIP, 1),
        1.0,
    )
    return neighbor_page.render(result, found, task)


def test_queries_and_neighbours_are_marked(content):
    page = _Page(content)
    assert page.open == [] and "script" not in page.tags
    queries = {name: (right, tiles) for right, name, tiles in page.queries}
    # The query itself, then its five nearest.
    assert queries == {
        "test0": ("right", ["yes", "yes", "yes", "yes", "no", "no"]),
        "test1": ("right", ["yes", "yes", "yes", "yes", "no", "no"]),
        "test2": ("wrong", ["no", "no", "no", "no", "yes", "yes"]),
    }
    assert f"classified as {NASTY}" in page.text and "only wrong predictions (1)" in page.text
    assert page.text.count("✓ correct") == 2
    (link,) = re.findall(r'<a href="#test2">(.*?)</a>', content)
    assert html.unescape(link).endswith(f" as {NASTY}")
    assert 'href="#test2"' in content and 'href="#test1"' not in content
    assert "cosine 1.000" in page.text and "knn_3_top1" in page.text
    # It stands alone.
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\((?!data:)", content)
    assert "http" not in content and len(content) < 400_000


def test_the_strips_are_the_middle_clip(content):
    strips = re.findall(r"\.(\w+) \{ --n: (\d+); width: (\d+)px;.*?base64,([^)]*)\)", content, re.S)
    assert sorted(key for key, *_ in strips) == sorted(
        [f"test{index}" for index in range(3)] + [f"train{index}" for index in range(6)]
    )
    for key, frames, width, data in strips:
        assert (frames, width) == ("8", "86")
        pixels = tf.io.decode_jpeg(base64.b64decode(data)).numpy().astype(int)
        assert pixels.shape == (40, 8 * 48, 3)
        index = int(key[-1]) + (10 if key.startswith("test") else 0)
        video = make_video(index, 16)
        for frame in range(8):
            want = tf.io.decode_jpeg(video.frames[2 * frame]).numpy().astype(int)
            assert np.abs(pixels[:, 48 * frame : 48 * (frame + 1)] - want).mean() < 12


def test_wide_frames_lose_their_sides(tmp_path):
    video = make_video(0, 16, 48, 160)
    source = Source("x", [write_shard(tmp_path / "shard", [video])])
    strip = thumbnails.read_strips(source.indexed(), [0], CLIP)[0]
    pixels = tf.io.decode_jpeg(base64.b64decode(strip.data)).numpy()
    assert pixels.shape == (48, 8 * 85, 3) and strip.width == 128


def test_random_queries_come_first_then_wrong_ones():
    right = np.arange(100) % 4 != 0
    queries, num_random = neighbor_page.choose(right)
    assert num_random == 12 and len(queries) == 24 == len(set(queries.tolist()))
    assert right[queries[:12]].any() and not right[queries[12:]].any()
    again, _ = neighbor_page.choose(right)
    np.testing.assert_array_equal(queries, again)
    few, num_random = neighbor_page.choose(np.array([True, False]))
    assert sorted(few) == [0, 1] and num_random == 2


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium on the PATH")
def test_a_browser_plays_the_page(content, tmp_path):
    """The frames of a tile differ from one moment to another; its border says what it is."""
    probe = """<script>
    const style = (element) => getComputedStyle(element);
    const tile = (query, n) => document.querySelectorAll(`#${query} .tile`)[n];
    const clip = tile("test2", 1).querySelector(".clip");
    const animation = clip.getAnimations()[0];
    const positions = [];
    for (let n = 0; n < 8; n++) {
      animation.currentTime = (n + 0.5) * animation.effect.getTiming().duration / 8;
      positions.push(style(clip).backgroundPositionX);
    }
    document.getElementById("wrong-only").click();
    const found = {
      positions: positions,
      width: clip.getBoundingClientRect().width,
      borders: [1, 4].map((n) => style(tile("test2", n).querySelector(".frame")).borderTopStyle),
      hidden: ["test0", "test2"].map((q) => style(document.getElementById(q)).display),
      overflow: document.documentElement.scrollWidth > innerWidth,
    };
    document.title = JSON.stringify(found);
    </script>"""
    path = tmp_path / "page.html"
    path.write_text(content.replace("</body>", probe + "</body>"))
    result = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        + ["--disable-background-networking", "--disable-sync", f"--user-data-dir={tmp_path}/user"]
        + ["--window-size=500,900", "--dump-dom", f"file://{path}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search(r"<title>(\{.*\})</title>", result.stdout)
    assert title, result.stderr
    found = json.loads(html.unescape(title[1]))
    steps = [float(position.removesuffix("%")) for position in found["positions"]]
    np.testing.assert_allclose(steps, np.linspace(0, 100, 8), atol=0.01)
    assert found["width"] == 86 and not found["overflow"]
    assert found["borders"] == ["dashed", "solid"] and found["hidden"] == ["none", "flex"]
