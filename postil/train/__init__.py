"""A plan becomes an adapter."""

from postil.train.run import encode, examples_of, labels_wrong, prepare, read_adapter, refuse_to_overwrite, run

__all__ = ["encode", "examples_of", "labels_wrong", "prepare", "read_adapter", "refuse_to_overwrite", "run"]
