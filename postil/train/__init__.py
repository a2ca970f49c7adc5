"""A plan becomes an adapter."""

from postil.train.run import encode, examples_of, labels_wrong, prepare, read_adapter, run

__all__ = ["encode", "examples_of", "labels_wrong", "prepare", "read_adapter", "run"]
