"""The batches that a training reads."""


def read_in_order(task, data, context=None):
    """Return the batches that `task` reads as `data` (a `DataConfig`) says, drawn in one order.

    One thread draws the augmentation: the same seed, the same images. It is faster than a
    processor trains, but would starve a GPU.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return task.build_inputs(data, context).with_options(options)
