import subprocess
import sys
from datetime import timedelta

import pytest
from pydantic import BaseModel

from duly.app.declaration import App
from duly.engine.middleware import Middleware
from duly.errors import ConfigError, InvalidOptionError
from duly.flow import chain
from duly.job import Job, Policy


class SendInvoice(Job, kind="send_invoice", policy=Policy(queue="low")):
    order_id: int


@pytest.fixture
def app():
    return App("shop")


def test_a_task_has_the_name_of_its_function_or_its_own(app):
    @app.task
    def first(): ...

    @app.task(name="shop.second")
    async def other(): ...

    assert list(app.kinds) == ["first", "shop.second"]
    assert app.kinds["first"].policy == Policy()
    assert repr(app) == "<App shop: first, shop.second>"


def test_functions_and_classes_of_jobs_are_two_spellings_of_one_thing(app):
    @app.handler(SendInvoice)
    async def send(job: SendInvoice): ...

    @app.task
    async def remind(order_id: int): ...

    assert app.kinds == {"send_invoice": SendInvoice, "remind": remind.payload}


def test_one_kind_twice_is_refused_with_both_places(app):
    @app.task
    def send_invoice(): ...

    with pytest.raises(ConfigError) as caught:
        app.handler(SendInvoice)(lambda _: None)

    first, second = str(caught.value).split("declared twice: ")[1].split(" and ")
    assert first.startswith(__file__)
    assert second.startswith(__file__)


def test_two_apps_do_not_meet(app):
    other = App("other")

    @app.task(name="same")
    def one(): ...

    @other.task(name="same")
    def another(): ...

    assert app.kinds["same"] is one.payload
    assert other.kinds["same"] is another.payload


def nothing(): ...


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_attempts": 0}, "max_attempts: 0: Input should be greater than or equal to 1"),
        ({"queue": "No"}, "queue: 'No'"),
        ({"tries": 3}, "tries is no option (known: queue, max_attempts, "),
    ],
)
def test_a_wrong_policy_is_refused(app, options, expected):
    with pytest.raises(ConfigError) as caught:
        app.task(**options)(nothing)

    assert "test_declaration.nothing: " + expected in str(caught.value)


SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"run_in": "proces"}, "run_in: 'proces' is no place (known: here, process)"),
        ({"run_in": "process", "hard_timeout": 5}, "hard_timeout: 5 is no timedelta above 0"),
        ({"run_in": "process", "hard_timeout": timedelta(0)}, "is no timedelta above 0"),
        ({"hard_timeout": SECOND}, 'only a process can be ended (say run_in="process" too)'),
        (
            {"run_in": "process", "hard_timeout": SECOND, "timeout": MINUTE},
            "hard_timeout: 0:00:01 comes before timeout, 0:01:00 (leave one of them out)",
        ),
    ],
)
def test_what_would_mean_nothing_is_refused(app, options, expected):
    with pytest.raises(ConfigError) as caught:
        app.task(**options)(nothing)

    assert "test_declaration.nothing: " in str(caught.value)
    assert expected in str(caught.value)
    assert app.kinds == {}


def test_a_hard_timeout_needs_no_timeout(app):
    app.task(run_in="process", hard_timeout=SECOND)(nothing)

    assert list(app.kinds) == ["nothing"]


def generates():
    yield 1


async def generates_too():
    yield 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (7, "7 cannot be called"),
        (lambda: None, "'<lambda>' is no name of a kind"),
    ],
)
def test_what_cannot_be_a_task_is_refused(app, function, expected):
    with pytest.raises(TypeError, match=expected):
        app.task()(function)


@pytest.mark.parametrize("function", [generates, generates_too])
def test_what_yields_cannot_run_a_task(app, function):
    for declare in (app.task, app.task(name="named"), app.handler(SendInvoice)):
        with pytest.raises(TypeError, match="it cannot yield"):
            declare(function)


def test_a_handler_that_takes_more_than_the_job_is_refused(app):
    async def send(job: SendInvoice, mail: str): ...

    with pytest.raises(TypeError, match=r"this one takes mail: give it a default of Depends\(\)"):
        app.handler(SendInvoice)(send)


def test_a_coroutine_function_does_not_run_in_a_process(app):
    async def send(): ...

    with pytest.raises(TypeError, match="only plain ones run in processes"):
        app.task(run_in="process")(send)


def test_a_lifespan_yields(app):
    async def opens(): ...

    with pytest.raises(TypeError, match="a lifespan yields once"):
        app.lifespan(opens)


def test_a_schedule_is_checked_at_once(app):
    app.schedule("remind", SendInvoice(order_id=1), every=timedelta(minutes=1))

    with pytest.raises(ConfigError, match="entry remind: is defined twice"):
        app.schedule("remind", SendInvoice(order_id=1), cron="@daily")
    with pytest.raises(ConfigError, match="timetable entry other"):
        app.schedule("other", SendInvoice(order_id=1), cron="nonsense")


def test_a_name_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="'My Shop' is no name"):
        App("My Shop")


def test_an_app_reads_nothing_and_loads_no_engine(tmp_path):
    (tmp_path / "duly.yaml").write_text("nonsense: 1")
    program = """if True:
        import sys
        from datetime import timedelta
        from duly import App, Depends, TaskContext

        app = App("shop")

        @app.task(queue="low")
        async def send(order_id: int, context: TaskContext = Depends()) -> None: ...

        app.schedule("send", send.job(1), every=timedelta(minutes=1))
        heavy = ("redis", "taskiq", "taskiq_redis", "sqlalchemy", "duly.engine.transport")
        print([name for name in heavy if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )

    assert done.stdout.strip() == "[]", done.stderr


def test_the_settings_of_an_app_are_a_model():
    class ShopSettings(BaseModel):
        currency: str = "EUR"

    assert App("shop", settings=ShopSettings).settings_model is ShopSettings
    for wrong in (ShopSettings(), int):
        with pytest.raises(TypeError, match="is no class of models: derive it from BaseModel"):
            App("shop", settings=wrong)


async def hook(told): ...


class Awaited:
    async def __call__(self, told): ...


def yields(told):
    yield


@pytest.mark.parametrize("function", [hook, Awaited(), yields])
def test_a_hook_that_would_never_run_is_refused(app, function):
    for declare in (app.on_failure, app.on_dead_letter):
        with pytest.raises(TypeError, match="a hook is a plain function"):
            declare(function)


@pytest.mark.parametrize("name", ["began", "ended", "wants", "settled", "quarantined"])
def test_a_middleware_whose_hook_would_never_run_is_refused(app, name):
    middleware = type("Noted", (Middleware,), {name: hook})()

    with pytest.raises(TypeError, match=rf"Noted\.{name}: a hook is a plain function"):
        app.add_middleware(middleware)


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        (Middleware, r"Middleware is a class: add an object of it, such as Middleware\(\)"),
        (5, "5 is no middleware"),
        (type("Noted", (Middleware,), {"around": hook})(), "decorate it by @asynccontextmanager"),
    ],
)
def test_what_is_no_middleware_is_refused(app, middleware, expected):
    with pytest.raises(TypeError, match=expected):
        app.add_middleware(middleware)
    assert app.middlewares == []


def test_what_merges_takes_members_of_a_class_of_jobs_and_a_name(app):
    with pytest.raises(TypeError, match="int'> is no class of jobs"):
        app.merge(int)(lambda jobs, group: None)
    with pytest.raises(TypeError, match="it merges the payloads of a group"):
        app.merge(SendInvoice)(lambda: None)
    assert app.mergers == {}


def test_a_handler_is_for_a_class_of_jobs(app):
    for job in (int, Job):
        with pytest.raises(TypeError, match="is no class of jobs"):
            app.handler(job)(nothing_of)


def nothing_of(job): ...


async def test_a_task_is_not_a_job(app, broker_settings):
    @app.task
    async def send(order_id: int = 1): ...

    with pytest.raises(ConfigError, match=r"is not a job \(such as send_invoice.job\(7\)"):
        app.schedule("x", send, every=SECOND)
    async with app.connect(broker_settings) as client:
        for call in (app.enqueue(send), client.enqueue_many([send]), client.start(chain(send))):
            with pytest.raises(
                InvalidOptionError, match=r"a TaskFunction is no job.*make one, such"
            ):
                await call
    with app.connect_blocking(broker_settings):
        for job in (send, SendInvoice):
            with pytest.raises(InvalidOptionError, match=r"is no job.*make one, such as"):
                app.enqueue_blocking(job)
