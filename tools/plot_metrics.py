"""python -m tools.plot_metrics: the command of cvrl_tf.plot_metrics."""

from cvrl_tf.plot_metrics import COMMAND

if __name__ == "__main__":
    COMMAND.run()
