"""The input pipeline of the authors' implementation: batches of its own `build_inputs`.

Equal to this package's pipeline with --augment_on=host: the records; the sizes; decoding, crop,
resize, flip, colours, blur and solarisation of both clips, with the same distributions; float32
output. Different: the draws; records are parsed and then shuffled in a buffer of 64, instead of
read by position; it also reads labels.

Settings: `data`, patterns of TFRecord files; `frames` and `stride` of a clip; `size` in pixels;
`batch_size` and `videos`, as of `measure.batches`.
"""

import measure
from official.core import exp_factory
from official.projects.video_ssl.tasks import pretrain

EXPERIMENT = "video_ssl_pretrain_kinetics600"


def main():
    """Measures the pipeline and prints the figures."""
    settings = measure.settings()
    config = exp_factory.get_exp_config(EXPERIMENT)
    size = settings["size"]
    data = {
        "input_path": settings["data"],
        "feature_shape": (settings["frames"], size, size, 3),
        "temporal_stride": settings["stride"],
        "global_batch_size": settings["batch_size"],
    }
    config.override({"task": {"train_data": data}})
    task = pretrain.VideoSSLPretrainTask(config.task)
    batches = iter(task.build_inputs(config.task.train_data))
    measure.print_figures(measure.batches(batches, settings["batch_size"], settings["videos"]))


if __name__ == "__main__":
    main()
