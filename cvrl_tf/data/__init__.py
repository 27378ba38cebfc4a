"""From TFRecords to clips: record layout, clip sampling, augmentation, tf.data graphs."""
