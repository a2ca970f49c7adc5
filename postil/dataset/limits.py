"""How large a file may be. Honest files stay far below; what is above gets a clear error, never a silent cut."""

from __future__ import annotations

MB = 1024 * 1024

MAX_BYTES = 512 * MB  # a workbook or Parquet file on disk
MAX_TEXT_BYTES = 256 * MB  # a text file: it is held in memory, up to four times its size
MAX_ROWS = 2_000_000  # rows, records or lines of one file
MAX_CELL = 1 * MB  # characters of one cell, or of one line of plain text
MAX_DEPTH = 100  # lists and objects inside each other in JSON

MAX_COLUMNS = 2_000  # of a sheet; a text further to the right is a stray one
MAX_CELLS = 20_000_000  # of all sheets of a workbook together
MAX_GAP = 1_000  # blank rows in a row that are still listed one by one
MAX_MEMBERS = 10_000  # files inside a workbook
MAX_UNPACKED = 3_072 * MB  # all files inside a workbook, unpacked
MAX_RATIO = 150  # unpacked to packed, for what unpacks to more than SMALL_UNPACKED
SMALL_UNPACKED = 16 * MB
MAX_TOKEN = 4 * MB  # one tag of XML with its attributes

MAX_TOLD = 64 * MB  # what a small workbook may hold in texts, repeated ones counted each time ...
MAX_TOLD_PER_BYTE = 50  # ... plus this much for each byte of the file

CHILD_SECONDS = 20.0  # of computing, for reading a small workbook or Parquet file ...
CHILD_SECONDS_PER_MB = 1.0  # ... plus this much for each megabyte of the file
CHILD_BYTES = 300 * MB  # its memory ...
CHILD_BYTES_PER_BYTE = 40  # ... plus this much for each byte of the file ...
CHILD_MOST_BYTES = 2_048 * MB  # ... up to this
