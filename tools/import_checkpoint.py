"""python -m tools.import_checkpoint: the command of cvrl_tf.import_checkpoint."""

from cvrl_tf.import_checkpoint import COMMAND

if __name__ == "__main__":
    COMMAND.run()
