"""What is in a data set and what is wrong with it, before anything is trained: `check_data`.

a folder or a name  ->  check_data  ->  DataReport  ->  text, JSON, one HTML page
"""

from __future__ import annotations

from convscope.data.checking.check import check_data
from convscope.data.checking.report import DataReport

__all__ = ["DataReport", "check_data"]
