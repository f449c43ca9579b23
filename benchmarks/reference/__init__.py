"""Trainings as the authors' published code does them: fp32, NCHW, every image decoded each time it is drawn.

What `benchmarks/training.py` sets our training against. Written from the facts of the authors' code at the commits that
`adlib.methods` name; networks and weights are adlib's, so that both learn the same. That they do is tested in
`tests/benchmarks/test_reference.py`. `Files` and `Corrupted` read images as the authors' loaders do; a reference has
`step`, which learns from a batch of theirs and returns the loss as a number.
"""
