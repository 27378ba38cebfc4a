"""A small table, and results of its runs that are written by hand."""

import dataclasses
import json
import os
import pathlib
import sys

import cvrl_tf
from cvrl_tf.cli.application import Command
from cvrl_tf.reproduction import execution, plan, tables
from cvrl_tf.reproduction.plan import Settings

CONTENT = {
    "scales": {
        "desk": {"data": "desk", "train": ["--steps=4", "--batch_size=2", "--eval_data={test}"]},
        "paper": {"data": "desk", "train": []},
    },
    "data": {
        "desk": {
            "flag": "data",
            "train": "{dir}/train-*",
            "test": "{dir}/test-*",
            "videos": [12, 4],
        },
        "splits": {
            "flag": "ucf101",
            "train": "{dir}/split{split}/train-*",
            "test": "{dir}/split{split}/test-*",
            "videos": [20, 10],
            "splits": 2,
        },
    },
    "backbones": {
        "base": {"desk": []},
        "other": {"desk": ["--interval=uniform"], "fraction": 0.5, "cost": 2.0},
        "colors": {"load": {"desk": ["--backbone=color_histogram"]}, "seeds": False},
    },
    "evaluations": {
        "knn": {
            "title": "k-NN",
            "command": "knn_eval",
            "flags": ["--num_clips=3"],
            "figure": "knn_5_top1",
            "published_as": "linear_k400",
            "train_cost": 0.5,
            "test_cost": 1.0,
        },
        "tuned": {
            "title": "fine-tuned",
            "command": "finetune",
            "flags": ["--epochs=10"],
            "figure": "top1",
            "data": "splits",
            "train_cost": 1.0,
            "test_cost": 2.0,
        },
    },
    "tables": {
        "one": {
            "title": "One table",
            "source": "a paper",
            "columns": {"desk": ["knn", "tuned"]},
            "reference": "base",
            "curves": True,
            "rows": [
                {
                    "name": "base",
                    "title": "the base",
                    "backbone": "base",
                    "published": {"linear_k400": 63.8},
                },
                {"name": "other", "title": "another", "backbone": "other", "columns": ["knn"]},
                {"name": "colors", "title": "colours", "backbone": "colors", "columns": ["knn"]},
            ],
        }
    },
}


def table():
    """The table `one`."""
    return tables.build(CONTENT, "one", "desk")


def make_plan(directory, seeds=(0, 1), **settings):
    """The plan of the table in a directory."""
    data = {"data": "records", "ucf101": "ucf"}
    return plan.make(table(), Settings(str(directory), data, tuple(seeds), **settings))


def write_result(run, hits, version=cvrl_tf.__version__):
    """Writes what an evaluation writes, for test videos that are predicted rightly or not."""
    directory = pathlib.Path(run.output)
    directory.mkdir(parents=True, exist_ok=True)
    lines = [f"video_{number},a,{'a' if hit else 'b'},1,0" for number, hit in enumerate(hits)]
    text = "\n".join(["id,true,predicted,a,b", *lines]) + "\n"
    (directory / "predictions.csv").write_text(text)
    value = {"value": sum(hits) / len(hits), "low": 0.0, "high": 1.0}
    result = {"version": version, "figures": {"knn_5_top1": value, "top1": value}}
    (directory / "results.json").write_text(json.dumps(result))


_SLOW = """
import os, pathlib, signal, sys, time

def stop(number, frame):
    print("stopping", flush=True)
    sys.exit(75)

signal.signal(signal.SIGTERM, stop)
pathlib.Path("slow_pid").write_text(str(os.getpid()))
print("waiting", flush=True)
time.sleep({seconds})
"""


def execute_slowly(directory, output, seconds):
    """As a command of its own: executes a plan of one run, which waits some seconds.

    Args:
      directory: to work in; the runs are below `out`.
      output: file for what is printed.
      seconds: that the run takes.
    """
    os.chdir(directory)
    for descriptor in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    pathlib.Path("slow.py").write_text(_SLOW.format(seconds=seconds))
    os.environ["PYTHONPATH"] = directory
    made = make_plan("out", seeds=(0,))
    run = dataclasses.replace(made.runs["base_seed0"], name="colors/knn", module="slow")
    run = dataclasses.replace(run, arguments=())
    made = dataclasses.replace(made, runs={run.name: run})
    sys.argv[1:] = []
    Command(lambda flags: execution.execute(made, print) and 0, "Executes.", {}).run()
