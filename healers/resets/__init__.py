"""The write half of each queue: put one orphaned row back by compare-and-set, nothing else; only `cycle` may ask."""
