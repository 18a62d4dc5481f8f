"""duly: jobs on time, every time. The public door of the library."""

from duly.job import Job, Policy
from duly.task import Attempt, AttemptOutcome, Task, TaskState

__version__ = "0.1.0"

__all__ = ["Attempt", "AttemptOutcome", "Job", "Policy", "Task", "TaskState", "__version__"]
