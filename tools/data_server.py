"""python -m tools.data_server: the command of cvrl_tf.data_server."""

from cvrl_tf.data_server import COMMAND

if __name__ == "__main__":
    COMMAND.run()
