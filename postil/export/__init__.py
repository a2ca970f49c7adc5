"""An adapter becomes files for others, each with a certificate that it says the same: merge · gguf · parity."""

from postil.export.card import Facts, write_card
from postil.export.doors import OfEngine, Told
from postil.export.merge import check_fit
from postil.export.parity import Certificate, certify
from postil.export.possible import possible
from postil.export.push import CARD, Place, check_push, read_place, upload
from postil.export.run import Wanted, as_json, check_wanted, export, hold

__all__ = [
    "CARD", "Certificate", "Facts", "OfEngine", "Place", "Told", "Wanted", "as_json", "certify", "check_fit",
    "check_push", "check_wanted", "export", "hold", "possible", "read_place", "upload", "write_card",
]  # fmt: skip
