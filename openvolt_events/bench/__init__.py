"""`make bench`: how fast the service is, as ratios against honest baselines measured in the same run."""
