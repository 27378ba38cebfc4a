"""python -m tools.make_subset: the command of cvrl_tf.make_subset."""

from cvrl_tf.make_subset import COMMAND

if __name__ == "__main__":
    COMMAND.run()
