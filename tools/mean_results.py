"""python -m tools.mean_results: the command of cvrl_tf.mean_results."""

from cvrl_tf.mean_results import COMMAND

if __name__ == "__main__":
    COMMAND.run()
