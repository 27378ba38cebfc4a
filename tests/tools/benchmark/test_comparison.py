"""Comparison with other implementations; programs of the test stand for their environments."""

import dataclasses
import sys

import pytest

from cvrl_tf.errors import InputError
from tools.benchmark import comparison


def _message(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_path_that_is_not_a_program(tmp_path):
    path = f"{tmp_path}/bin/python"
    assert _message(comparison.Environment, comparison.PYTORCH, path) == (
        f"--pytorch_python={path} is not a program: expected the Python interpreter of an"
        " environment with torch, such as ENVIRONMENT/bin/python."
    )


def test_an_environment_without_the_packages_names_what_to_install():
    python = sys.executable  # of this environment, which has TensorFlow but nothing of theirs
    authors = dataclasses.replace(comparison.AUTHORS, packages=("tensorflow", "no-such-package"))
    assert _message(comparison.Environment, authors, python) == (
        f"--authors_python={python} has no no-such-package: install the requirements by"
        f" '{python} -m pip install tf-models-official==2.20.0 tensorflow-cpu==2.20.0"
        " tf_keras==2.20.1'."
    )


def test_versions_and_figures_are_the_last_line_of_a_program(interpreter):
    python = interpreter(versions='{"python": "3", "torch": "2.13"}', pytorch_step='{"a": 2.5}')
    environment = comparison.Environment(comparison.PYTORCH, python)
    assert environment.describe() == "PyTorch: python 3, torch 2.13"
    assert environment.measure("pytorch_step", {}) == {"a": 2.5}


@pytest.mark.parametrize(
    ("said", "why"), [("!no memory.", "no memory"), ("!", "exit status 1"), ("{", "no figures")]
)
def test_a_program_that_fails_is_one_sentence(interpreter, said, why):
    said = said if said != "!" else "!\n"
    python = interpreter(versions='{"torch": "2.13"}', pytorch_step=said)
    environment = comparison.Environment(comparison.PYTORCH, python)
    message = _message(environment.measure, "pytorch_step", {})
    assert message.startswith(
        f"--pytorch_python={python} could not run pytorch_step of tools/benchmark/others: "
    )
    assert why in message
    assert message.endswith("Expected a Python environment with torch==2.13.0.")


def test_networks_of_other_sizes_are_not_compared(interpreter):
    environment = comparison.Environment(
        comparison.PYTORCH, interpreter(versions='{"torch": "2.13"}')
    )
    comparison.check_parameters(environment, {"parameters": 5}, {"parameters": 5})
    message = _message(
        comparison.check_parameters, environment, {"parameters": 5000}, {"parameters": 6}
    )
    assert "has 6 trained weights and ours 5,000" in message
