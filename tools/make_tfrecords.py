"""python -m tools.make_tfrecords: the command of cvrl_tf.make_tfrecords."""

from cvrl_tf.make_tfrecords import COMMAND

if __name__ == "__main__":
    COMMAND.run()
