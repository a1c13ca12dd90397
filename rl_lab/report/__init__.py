"""Statistics, charts and the page: what a study found, in numbers a reviewer would accept."""

from rl_lab.report.arms import Arm, summarise
from rl_lab.report.findings import findings
from rl_lab.report.learning import learning_table, refuse_foreign, write_table
from rl_lab.report.publish import Report, build, document
from rl_lab.report.table import Table, table_rows

__all__ = [
    "Arm",
    "Report",
    "Table",
    "build",
    "document",
    "findings",
    "learning_table",
    "refuse_foreign",
    "summarise",
    "table_rows",
    "write_table",
]
