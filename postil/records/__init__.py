"""The nouns. Records are frozen and hold plain values; they cross rooms, nothing else does."""

from postil.records.bases import Base, Counts, Machine, Probe, Shape
from postil.records.dataset import Corrections, Dataset, Example, Issue, Left, Message, Repair, Role, Severity, Split
from postil.records.evaluation import FITS, LEANING, Answer, Confusion, Evaluation, Preference, Readiness, Verdict
from postil.records.plan import Choice, Estimate, Kind, Method, Plan, Proposal, Task
from postil.records.training import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter, Event, Finding, Target

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "FITS",
    "LEANING",
    "Adapter",
    "Answer",
    "Base",
    "Choice",
    "Confusion",
    "Corrections",
    "Counts",
    "Dataset",
    "Estimate",
    "Evaluation",
    "Event",
    "Example",
    "Finding",
    "Issue",
    "Kind",
    "Left",
    "Machine",
    "Message",
    "Method",
    "Plan",
    "Preference",
    "Probe",
    "Proposal",
    "Readiness",
    "Repair",
    "Role",
    "Severity",
    "Shape",
    "Split",
    "Target",
    "Task",
    "Verdict",
]
