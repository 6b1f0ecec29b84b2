"""Options with which the main job ends in seconds, for tests that run it whole."""

SMALL = [
    "--config.data.num_images=12",
    "--config.retrieval.batch_size=16",
    "--config.classification.encoder_batch_size=16",
    "--config.classification.selection=False",
    "--config.classification.linear.epochs=2",
    "--config.classification.attentive.epochs=2",
    "--config.segmentation.sets=('critters_part',)",
    "--config.segmentation.train_images=8",
    "--config.segmentation.test_images=2",
    "--config.segmentation.iterations=2",
    "--config.segmentation.warmup=1",
    "--config.segmentation.batch_size=4",
    "--config.segmentation.window_batch=4",
    "--config.segmentation.shares=(0.5,)",
    "--config.segmentation.incontext.images=4",
    "--config.segmentation.pictures=1",
]
