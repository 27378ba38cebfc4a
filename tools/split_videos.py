"""python -m tools.split_videos: the command of cvrl_tf.split_videos."""

from cvrl_tf.split_videos import COMMAND

if __name__ == "__main__":
    COMMAND.run()
