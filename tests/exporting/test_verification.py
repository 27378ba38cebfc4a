import shutil

import pytest

from cvrl_tf.errors import InputError
from cvrl_tf.exporting import stock, verification


def test_other_weights_are_found_out(export, backbone, tmp_path):
    shutil.copytree(export, tmp_path / "export")
    copy = stock.copy(backbone)
    gamma = next(
        weight for weight in copy.weights if "res5" in weight.path and "c_bn" in weight.path
    )
    gamma.assign(gamma * 1.01)
    copy.save(tmp_path / "export" / "backbone.keras")
    message = r"discarded: the features of backbone.keras differ .* by \d\.\de-\d\d of the largest"
    with pytest.raises(InputError, match=message):
        verification.verify(str(tmp_path / "export"), backbone, crop_size=32)


def test_another_preprocessing_is_found_out(export, backbone):
    with pytest.raises(InputError, match="the features of serving_default differ"):
        verification.verify(str(export), backbone, crop_size=40)


def test_a_file_that_does_not_load_is_found_out(export, backbone, tmp_path):
    shutil.copytree(export, tmp_path / "export")
    (tmp_path / "export" / "backbone.keras").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match=r"a fresh process of .* could not reload it \(status 1\)"):
        verification.verify(str(tmp_path / "export"), backbone, crop_size=32)


def test_directories_with_characters_of_patterns(export, backbone, tmp_path):
    (tmp_path / "a [v1]").symlink_to(export.parent)
    assert verification.verify(f"{tmp_path}/a [v1]/first", backbone, crop_size=32) < 1e-5
