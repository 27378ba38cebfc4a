"""python -m tools.inspect_tfrecords: the command of cvrl_tf.inspect_tfrecords."""

from cvrl_tf.inspect_tfrecords import COMMAND

if __name__ == "__main__":
    COMMAND.run()
