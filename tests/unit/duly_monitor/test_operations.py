import pytest

from duly.errors import IllegalTransitionError
from duly.task import TaskState
from duly_monitor.operations import ALLOWED, Operation, label, operate


@pytest.mark.parametrize("state", list(TaskState))
def test_a_running_task_can_be_cancelled_and_every_other_deleted(state):
    active = state is TaskState.ACTIVE

    assert (Operation.CANCEL in ALLOWED[state]) is active
    assert (Operation.DELETE in ALLOWED[state]) is not active


def test_running_what_has_failed_is_called_a_retry():
    assert label(Operation.RUN, TaskState.ARCHIVED) == "Retry"
    assert label(Operation.RUN, TaskState.SCHEDULED) == "Run now"
    assert label(Operation.DELETE) == "Delete"


async def test_an_operation_is_carried_out_by_the_inspector(inspector):
    await operate(inspector, Operation.ARCHIVE, queue="default", task_id="5d5d5d5d00000002")
    await operate(
        inspector, Operation.CANCEL, queue="default", task_id="9f2c41d8e0b70", outcome="retry"
    )

    assert (await inspector.tasks.find("5d5d5d5d00000002")).state is TaskState.ARCHIVED
    assert inspector.cancelled == [("9f2c41d8e0b70", "retry")]
    with pytest.raises(IllegalTransitionError):
        await operate(inspector, Operation.DELETE, queue="default", task_id="9f2c41d8e0b70")
