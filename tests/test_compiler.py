import pytest
import tensorflow as tf

from cvrl_tf import compiler


@pytest.fixture(autouse=True)
def forgotten():
    """What is known of the compiler, before and after a test."""
    for known in (compiler.start, compiler.problem):
        known.cache_clear()
    yield
    for known in (compiler.start, compiler.problem):
        known.cache_clear()


def test_a_compiler_that_fails_is_a_reason(monkeypatch):
    assert compiler.problem() == compiler.start() == ""

    def fail(*args, **options):
        raise tf.errors.InternalError(None, None, "libdevice not found at ./libdevice.10.bc\nmore")

    monkeypatch.setattr(compiler.tf, "function", fail)
    assert compiler.start("/device:CPU:0") == "libdevice not found at ./libdevice.10.bc"
    assert compiler.problem("/device:CPU:0") == "libdevice not found at ./libdevice.10.bc"


def test_a_variable_of_the_environment_switches_it_off_on_accelerators(monkeypatch):
    monkeypatch.setenv("CVRL_TF_XLA", "0")
    assert compiler.problem() == "CVRL_TF_XLA=0"
    assert compiler.start() == ""  # colours on the host
