"""An adapter becomes files for others, each with a certificate that it says the same: merge · gguf · parity."""

from postil.export.doors import OfEngine, Told
from postil.export.merge import check_fit
from postil.export.parity import Certificate, certify
from postil.export.possible import possible
from postil.export.run import Wanted, as_json, check_wanted, export, hold

__all__ = [
    "Certificate", "OfEngine", "Told", "Wanted", "as_json", "certify", "check_fit", "check_wanted", "export", "hold",
    "possible",
]  # fmt: skip
