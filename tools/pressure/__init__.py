"""A campaign of trouble for training: what is lost when runs are killed, stopped and starved."""
