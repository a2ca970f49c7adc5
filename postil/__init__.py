"""Postil (批注): teach an open model your words, formats and rules, by LoRA, on your own machine."""

__version__ = "0.1.0"
