"""The building blocks of `duly dash`: screens that refresh themselves, and confirmations."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Static
from textual.worker import Worker
from typing_extensions import override

from duly.cli import render
from duly.engine.inspection.inspector import Inspector
from duly.errors import DulyError

_KEYS = """\
arrows, hjkl   move; l or Enter opens, h or Esc goes back
tab, [ and ]   next or previous state
p              pause or resume a queue (asks first)
r a d          run, archive, delete a task (asks first)
Ctrl+R         refresh now
q              back; quits from the list of queues
?              this help"""


class Confirm(ModalScreen[bool]):
    """Asks for confirmation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("n,escape,q", "dismiss(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    @override
    def compose(self) -> ComposeResult:
        yield Static(Text(f"{self._question}\n\ny: yes   n: no"), classes="dialog")


class Help(ModalScreen[None]):
    """Shows the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close")
    ]

    @override
    def compose(self) -> ComposeResult:
        yield Static(Text(_KEYS), classes="dialog")


class View(Screen[None]):
    """A screen that refreshes itself, and shows when the broker is unreachable."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,h,left,q", "back", "back"),
        Binding("ctrl+r", "look", "refresh", show=False),
        Binding("question_mark", "help", "keys", key_display="?"),
    ]

    def __init__(self, inspector: Inspector, seconds: float) -> None:
        super().__init__()
        self.inspector, self.seconds = inspector, seconds
        self._broken = False
        self._looking: Worker[None] | None = None

    def on_mount(self) -> None:
        """Start refreshing."""
        self.set_interval(self.seconds, self._look_in_turn)
        self.action_look()

    def action_look(self) -> None:
        """Refresh once; a refresh that has not ended is cancelled."""
        self._looking = self._start(self.look, group="look", exclusive=True)

    def _look_in_turn(self) -> None:
        """Refresh, unless the screen is hidden or the last refresh still waits for the broker."""
        if self.is_current and (self._looking is None or self._looking.is_finished):
            self.action_look()

    async def look(self) -> None:
        """Read what the screen shows, and show it."""
        raise NotImplementedError

    def act(self, question: str, operation: Callable[[], Awaitable[None]]) -> None:
        """Do something after confirmation, and refresh."""

        async def both() -> None:
            await operation()
            await self.look()

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._start(both, group="act")

        self.app.push_screen(Confirm(question), answered)

    def say(self, text: str) -> None:
        """Show a line at the bottom; "" hides it."""
        line = self.query_one("#line", Static)
        line.update(Text(render.one_line(text)))
        line.display = bool(text)

    def _start(
        self, what: Callable[[], Awaitable[None]], *, group: str, exclusive: bool = False
    ) -> Worker[None]:
        return self.run_worker(partial(self._guarded, what), group=group, exclusive=exclusive)

    async def _guarded(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except DulyError as error:
            self._broken = True
            self.say(str(error))
        else:
            if self._broken and look == self.look:
                self._broken = False
                self.say("")

    def action_back(self) -> None:
        """Leave this screen; the last one ends the program."""
        if len(self.app.screen_stack) > 2:  # noqa: PLR2004 - textual's own and the queues
            self.app.pop_screen()
        else:
            self.app.exit()

    def action_help(self) -> None:
        """Show the keys."""
        self.app.push_screen(Help())


class TableView(View):
    """A view whose middle is a table with a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
        Binding("l,right", "open", "open", show=False),
    ]
    columns: ClassVar[tuple[str, ...]] = ()

    @override
    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield DataTable[Text](cursor_type="row", zebra_stripes=True)
        yield Static(id="line")
        yield Footer(show_command_palette=False)

    @property
    def table(self) -> DataTable[Text]:
        """The table."""
        return self.query_one(DataTable)

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        table = self.table
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    @override
    def on_mount(self) -> None:
        self.say("")
        for column in self.columns:
            label = Text(column.lstrip(">"), justify="right" if column[0] == ">" else "left")
            self.table.add_column(label)
        super().on_mount()

    def fill(self, rows: dict[str, tuple[object, ...]]) -> None:
        """Show rows; the cursor stays on its row, or where that was."""
        table, key, place = self.table, self.chosen, self.table.cursor_row
        table.clear()
        for name, cells in rows.items():
            table.add_row(
                *(
                    Text(
                        render.one_line(str(cell)),
                        justify="right" if column[0] == ">" else "left",
                    )
                    for column, cell in zip(self.columns, cells, strict=True)
                ),
                key=name,
            )
        if rows:
            known = list(rows)
            table.move_cursor(row=known.index(key) if key in rows else min(place, len(known) - 1))

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.table.move_cursor(row=self.table.cursor_row + by)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self.chosen is not None:
            self.open(self.chosen)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Open the row on which Enter was pressed."""
        if event.row_key.value is not None:
            self.open(event.row_key.value)

    def open(self, key: str) -> None:
        """Open the row of a key."""
        raise NotImplementedError
