"""The dashboard of `duly dash`: queues, tasks by state, one task; each refreshes itself."""

from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static
from typing_extensions import override

from duly.cli import render
from duly.cli.views import TableView, View
from duly.engine.inspection.inspector import Inspector
from duly.engine.storage.reports import QueueReport
from duly.errors import NotFoundError
from duly.plurals import plural
from duly.task import Task, TaskState

_PAGE = 100
"""Tasks shown of a state, the newest."""


class QueuesView(TableView):
    """Every queue."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "pause/resume"),
        Binding("enter", "open", "tasks"),
    ]
    columns: ClassVar[tuple[str, ...]] = (
        "queue", ">waiting", ">active", ">later", ">archived", ">/min", ">failed", ">oldest",
    )  # fmt: skip

    @override
    async def look(self) -> None:
        reports = await self.inspector.queues.list()
        self._paused = {report.name for report in reports if report.paused_since}
        self.fill(
            {
                report.name: (
                    _label(report),
                    report.waiting,
                    report.active,
                    report.scheduled + report.retry,
                    report.archived,
                    report.processed_per_minute,
                    report.failed_per_minute,
                    render.duration(report.oldest_waiting),
                )
                for report in reports
            }
        )
        held = sum(report.held for report in reports)
        self.query_one("#title", Static).update(
            Text(f"{plural(len(reports), 'queue')}, {plural(held, 'task')}")
        )

    @override
    def open(self, key: str) -> None:
        self.app.push_screen(TasksView(self.inspector, self.seconds, key))

    def action_pause(self) -> None:
        """Pause the queue under the cursor, or resume it."""
        name = self.chosen
        if name is None:
            return
        paused = name in self._paused
        operation = self.inspector.queues.resume if paused else self.inspector.queues.pause
        self.act(f"{'Resume' if paused else 'Pause'} queue {name}?", lambda: operation(name))


class TaskActions(View):
    """A view whose task can be operated on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "operate('run')", "run"),
        Binding("a", "operate('archive')", "archive"),
        Binding("d", "operate('delete')", "delete"),
    ]
    queue: str

    @property
    def task_id(self) -> str | None:
        """The task under the cursor, or the one shown."""
        raise NotImplementedError

    def action_operate(self, verb: str) -> None:
        """Run, archive or delete the task, after confirmation."""
        task_id = self.task_id
        if task_id is None:
            return
        operations = {
            "run": self.inspector.tasks.run,
            "archive": self.inspector.tasks.archive,
            "delete": self.inspector.tasks.delete,
        }
        self.act(
            f"{verb.capitalize()} task {render.one_line(task_id)}?",
            lambda: operations[verb](self.queue, task_id),
        )


class TasksView(TableView, TaskActions):
    """The tasks of a queue in one state, the newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,right_square_bracket", "state(1)", "next state", key_display="tab"),
        Binding("shift+tab,left_square_bracket", "state(-1)", "previous state", show=False),
        Binding("enter", "open", "task"),
    ]
    columns: ClassVar[tuple[str, ...]] = ("id", "kind", ">attempts", "when", "why")

    def __init__(self, inspector: Inspector, seconds: float, queue: str) -> None:
        super().__init__(inspector, seconds)
        self.queue, self.state = queue, TaskState.WAITING

    @property
    @override
    def task_id(self) -> str | None:
        return self.chosen

    @override
    async def look(self) -> None:
        report = await self.inspector.queues.get(self.queue)
        title = Text(f"{self.queue}  ")
        for state in TaskState:
            style = "reverse" if state is self.state else ""
            title.append(f" {state} {getattr(report, state.value):,} ", style=style)
        self.query_one("#title", Static).update(title)
        page = await self.inspector.tasks.list(self.queue, self.state, limit=_PAGE)
        self.fill({task.id: _row(task) for task in page.tasks})

    def action_state(self, by: int) -> None:
        """Show the next state, or the previous one."""
        states = list(TaskState)
        self.state = states[(states.index(self.state) + by) % len(states)]
        self.action_look()

    @override
    def open(self, key: str) -> None:
        self.app.push_screen(TaskView(self.inspector, self.seconds, self.queue, key))


class TaskView(TaskActions):
    """One task with its attempts and their tracebacks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll(1)", "down", show=False),
        Binding("k", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, inspector: Inspector, seconds: float, queue: str, task_id: str) -> None:
        super().__init__(inspector, seconds)
        self.queue = queue
        self._wanted = task_id

    @property
    @override
    def task_id(self) -> str | None:
        return self._wanted

    @override
    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(id="task")
        yield Static(id="line")
        yield Footer(show_command_palette=False)

    @override
    def on_mount(self) -> None:
        self.say("")
        super().on_mount()

    @override
    async def look(self) -> None:
        try:
            task = await self.inspector.tasks.get(self.queue, self._wanted)
        except NotFoundError:
            self.query_one("#task", Static).update(Text(f"Task {self._wanted} no longer exists."))
            return
        self.query_one("#task", Static).update(Text(_whole(task)))

    def action_scroll(self, by: int) -> None:
        """Scroll by a line."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)


class Board(App[None]):
    """The dashboard; runs until the user quits."""

    CSS = """
    #title { height: auto; padding: 0 1; text-style: bold; }
    #line { height: auto; padding: 0 1; background: $error; color: $text; }
    #task { padding: 0 1; }
    DataTable { height: 1fr; }
    ModalScreen { align: center middle; }
    .dialog { width: auto; max-width: 76; height: auto; padding: 1 2; border: round $accent;
        background: $surface; }
    """
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, inspector: Inspector, seconds: float) -> None:
        super().__init__()
        self._inspector, self._seconds = inspector, seconds

    def on_mount(self) -> None:
        """Show the queues."""
        self.push_screen(QueuesView(self._inspector, self._seconds))


def _label(report: QueueReport) -> str:
    if report.error:
        return f"{report.name} (unreadable)"
    return f"{report.name} (paused)" if report.paused_since else report.name


def _row(task: Task) -> tuple[object, ...]:
    instant = task.ended_at or task.due_at or task.enqueued_at
    why = (task.history[0].error if task.history else task.server) or render.NOTHING
    return task.id, task.kind, task.attempts, render.ago(instant), why


def _whole(task: Task) -> str:
    """Return a task as text; its content cannot control the terminal."""
    facts = [
        ("task", task.id),
        ("kind", task.kind),
        ("queue", task.queue),
        ("state", task.state.value),
        ("attempts", f"{task.attempts} ({task.crashes} crashes)"),
        ("enqueued", render.clock_time(task.enqueued_at)),
        ("due", render.clock_time(task.due_at)),
        ("ended", render.clock_time(task.ended_at)),
        ("server", task.server or render.NOTHING),
        ("payload", render.compact(task.payload)),
        ("result", render.NOTHING if task.result is None else render.compact(task.result)),
    ]
    lines = [f"{name:10}{render.one_line(value)}" for name, value in facts]
    for attempt in task.ended_attempts:
        head = f"attempt {attempt.number} {attempt.outcome.value} {render.clock_time(attempt.at)}"
        lines += ["", head, render.one_line(attempt.error), render.block(attempt.traceback)]
    return "\n".join(lines)
