"""What is remembered: files that are whole or not there at all."""

from postil.store.files import publish, read_json, sha256, temporary_directory, write_bytes, write_json, write_text

__all__ = ["publish", "read_json", "sha256", "temporary_directory", "write_bytes", "write_json", "write_text"]
