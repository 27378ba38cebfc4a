"""python -m tools.reproduce: the command of cvrl_tf.reproduce."""

from cvrl_tf.reproduce import COMMAND

if __name__ == "__main__":
    COMMAND.run()
