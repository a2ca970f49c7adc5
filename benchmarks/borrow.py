"""Let this environment see the packages of another one: python benchmarks/borrow.py SITE_PACKAGES."""

import sys
import sysconfig
from pathlib import Path

line = f"import site; site.addsitedir({sys.argv[1]!r})\n"  # unlike a bare path, this also reads the .pth files there
Path(sysconfig.get_path("purelib"), "borrowed.pth").write_text(line, "utf-8")
