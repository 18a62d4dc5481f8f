"""Finds the application that the setting `app` names: `shop.jobs:app`."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import structlog

from duly.app.declaration import App
from duly.errors import ConfigError, DulyError, describe
from duly.job import is_name

BUILT_IN: Final = "duly.orders.app:app"
"""What runs where no application is named: the check of pending orders."""


def load_app(name: str) -> App:
    """Return the application of a name; "": the check of pending orders.

    A `DulyBroker` is one whose tasks are those that its module has imported.

    Raises:
        ConfigError: There is no such application, or its module cannot be imported.
    """
    found = load_object("app", name or BUILT_IN, remedy_in=_apps_in)
    module_name, _, attribute = (name or BUILT_IN).partition(":")
    if (adopted := _adopted(found, module_name)) is not None:
        return adopted
    if not isinstance(found, App):
        problem = f"{name}: is a {type(found).__name__}, not a duly.App"
        module = importlib.import_module(module_name)
        raise ConfigError("app", problem, remedy=_apps_in(module, attribute))
    return found


def load_object(
    key: str, name: str, *, remedy_in: Callable[[ModuleType, str], str] = lambda *_: ""
) -> Any:  # noqa: ANN401 - whatever the name leads to
    """Return the object of a name such as `shop.jobs:app`.

    The current directory is searched first, as `python -m` does.

    Args:
        key: The setting that holds the name.
        name: Its module and its name there.
        remedy_in: Says what to do where the module has no such object.

    Raises:
        ConfigError: There is no such object, or its module cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        meant = f"{module_name or 'shop.jobs'}:{key.rpartition('.')[2]}"
        remedy = f"write it as module:name, such as {meant}"
        raise ConfigError(key, f"{name!r} names no object in a module", remedy=remedy)
    module = _module(module_name, key)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            problem = f"{module_name} has no {attribute!r}"
            raise ConfigError(key, problem, remedy=remedy_in(module, attribute))
        found = getattr(found, part)
    return found


def _adopted(found: object, module: str) -> App | None:
    """Return an application that runs the tasks of a `DulyBroker`; None: it is something else."""
    # Whoever has made one has imported it; others do without taskiq.
    room = sys.modules.get("duly.engine.taskiq.broker")
    if room is None or not isinstance(found, room.DulyBroker):
        return None
    name = module.partition(".")[0].lower()
    app = App(name if is_name(name) else "taskiq")
    app.taskiq = found
    return app


def _module(name: str, key: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except DulyError:
        raise  # a declaration says itself what is wrong with it
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                key, f"there is no module {error.name!r}", remedy=_where_to_look(error.name)
            ) from None
        raise _failed(name, key, error) from None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _failed(name, key, error) from None


def _failed(name: str, key: str, error: BaseException) -> ConfigError:
    """Return why a module could not be imported, in a line; log the traceback at DEBUG."""
    if structlog.is_configured():  # a service; commands print the line alone
        text = "".join(traceback.format_exception(error))
        structlog.get_logger("duly.app").debug("App not imported", module=name, traceback=text)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != importlib.__file__
    ]
    place = f" ({_short(frames[-1].filename)}:{frames[-1].lineno})" if len(frames) > 1 else ""
    return ConfigError(
        key,
        f"importing {name} raised {describe(error)}{place}",
        remedy=f"for the traceback: python -c 'import {name}'",
    )


def _short(file: str) -> str:
    path = Path(file)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else file


def _where_to_look(missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    folders = [Path(entry or ".") for entry in sys.path]
    if parent and (spec := importlib.util.find_spec(parent)) is not None:
        folders = [Path(entry) for entry in spec.submodule_search_locations or ()]
    known = {
        path.stem
        for folder in folders[:1]
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name.isidentifier())
    }
    if close := get_close_matches(last, known, n=1):
        return f"did you mean {'.'.join(filter(None, (parent, close[0])))}?"
    return f"start in the directory that holds {missing.partition('.')[0]}, or install its package"


def _apps_in(module: ModuleType, attribute: str) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not apps:
        return f'declare one there: {attribute} = duly.App("name")'
    return f"did you mean {module.__name__}:{apps[0]}?"
