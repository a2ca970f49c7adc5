"""Examples, a base model and a machine become decided numbers: catalog · machine · kinds · choose · estimate · fit."""

from postil.plan.catalog import bases, find, known, needed_bytes, recommend, shape_of
from postil.plan.choose import choose
from postil.plan.counts import rough_counts
from postil.plan.estimate import bounded, cost, doubts, estimate
from postil.plan.fit import FEWEST_TEST, PROBE_SHARE, Changes, fit, issues_of
from postil.plan.foreign import Foreign, read_foreign
from postil.plan.given import Given, read_given
from postil.plan.groups import groups, matters
from postil.plan.kinds import chinese_share, kind_of
from postil.plan.machine import machine
from postil.plan.presets import preset, presets, split_sizes, training_rows
from postil.plan.schema import Field, check_settings, checked_settings, fields, read_settings
from postil.plan.tasks import check_rows, longest, settled_task, suggestions, task_of

__all__ = [
    "FEWEST_TEST",
    "PROBE_SHARE",
    "Changes",
    "Field",
    "Foreign",
    "Given",
    "bases",
    "bounded",
    "check_rows",
    "check_settings",
    "checked_settings",
    "chinese_share",
    "choose",
    "cost",
    "doubts",
    "estimate",
    "fields",
    "find",
    "fit",
    "groups",
    "issues_of",
    "kind_of",
    "known",
    "longest",
    "machine",
    "matters",
    "needed_bytes",
    "preset",
    "presets",
    "read_foreign",
    "read_given",
    "read_settings",
    "recommend",
    "rough_counts",
    "settled_task",
    "shape_of",
    "split_sizes",
    "suggestions",
    "task_of",
    "training_rows",
]
