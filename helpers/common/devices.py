"""What TensorFlow sees of this machine."""


def gpus() -> int:
    """Return how many GPUs TensorFlow sees on this machine."""
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def gpu_memory() -> int:
    """Return the most bytes of the first GPU's memory that this process has used so far."""
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
