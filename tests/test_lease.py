"""Leases, on a file system that only TensorFlow knows."""

import json
import threading
import time

import pytest
import tensorflow as tf

from cvrl_tf import files, lease
from cvrl_tf.errors import InputError

WHAT = "converting into output_dir=x"


@pytest.fixture
def path(remote_directory, monkeypatch):
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    return f"{remote_directory}/lease.json"


def _write_other(path, expires):
    values = {"holder": "7 on other", "token": "theirs", "expires": expires, "until": "then"}
    files.write_json(path, values)


def test_a_lease_is_of_one_process_and_ends_with_the_block(path):
    with lease.held(path, WHAT) as held:
        held.check()
        until = json.loads(files.read_text(path))["until"]
        with pytest.raises(InputError) as error, lease.held(path, WHAT):
            pass
        assert str(error.value).endswith(
            f" is converting into output_dir=x: it holds the lease {path} until {until} and renews"
            " it. Wait for it, or, if it was killed, until then; or choose another directory."
        )
        assert " on " in str(error.value) and until.endswith(" UTC")
    assert not tf.io.gfile.exists(path)
    with lease.held(path, WHAT):
        pass


def test_what_a_killed_process_left_expires(path):
    _write_other(path, time.time() + 60)
    with pytest.raises(InputError, match="Another process .7 on other. is converting into"):
        lease.Lease(path, WHAT).take()
    _write_other(path, time.time() - 1)
    with lease.held(path, WHAT) as held:
        held.check()


def test_it_is_renewed_until_the_end(path, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS", 1.0)
    with lease.held(path, WHAT) as held:
        time.sleep(2.5)
        held.check()
        with pytest.raises(InputError, match="Another process"):
            lease.Lease(path, WHAT).take()


def test_of_two_that_start_at_once_one_holds_it(path, monkeypatch):
    """The other has written between the look of the first and its own writing."""
    monkeypatch.setattr(time, "sleep", lambda seconds: _write_other(path, time.time() + 60))
    with pytest.raises(InputError, match="7 on other"), lease.held(path, WHAT):
        pass
    assert files.read_json(path)["token"] == "theirs"


@pytest.mark.parametrize("lost", ["taken", "unreachable"])
def test_a_lost_lease_is_reported_and_the_other_one_stays(path, monkeypatch, lost):
    monkeypatch.setattr(lease, "SECONDS", 0.5)
    with lease.held(path, WHAT) as held:
        if lost == "taken":
            _write_other(path, time.time() + 60)
        else:

            def fail(*unused):
                raise tf.errors.UnavailableError(None, None, "no bucket")

            monkeypatch.setattr(files, "write_json", fail)
        time.sleep(1.0)
        with pytest.raises(
            InputError, match="lost its lease .*lease.json: it could not be renewed"
        ):
            held.check()
    assert tf.io.gfile.exists(path) == (lost == "taken")
    assert threading.active_count() < 50


def test_another_file_at_its_place_is_named(path):
    files.write_atomically(path, "{")
    with pytest.raises(InputError, match="is not a lease of this version: remove it if no process"):
        lease.Lease(path, WHAT).take()
