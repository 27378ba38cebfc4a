"""From TFRecords to batches: record layout, clip sampling, augmentation, tf.data graphs."""
