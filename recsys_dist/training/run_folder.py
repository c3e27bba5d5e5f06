"""The files of a run folder, which training writes and reports read.

RUN_DIR/
  config.yaml      the resolved configuration
  status.json      running, preempted or finished: what a batch script asks, for launchers hide exit codes
  metrics.jsonl    one record per epoch
  tensorboard/     the same for TensorBoard, where training.tensorboard is set
  checkpoints/     see recsys_dist/checkpoint/manifest.py
"""

CONFIG = "config.yaml"
STATUS = "status.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
