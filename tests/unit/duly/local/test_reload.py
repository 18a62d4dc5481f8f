import asyncio
import contextlib
import sys

import pytest

from duly.local.reload import changes, watched


async def test_source_counts_and_caches_and_data_do_not(tmp_path, until):
    data, cache = tmp_path / ".duly", tmp_path / "__pycache__"
    data.mkdir()
    cache.mkdir()
    seen = []

    async def watch():
        async for files in changes((tmp_path,), ignored=data):
            seen.extend(file.name for file in files)

    watching = asyncio.create_task(watch())

    async def noticed():
        # The watch begins some time after it was asked for.
        (tmp_path / "first.py").write_text(f"x = {len(seen)}")
        return "first.py" in seen

    await until(noticed)
    for ignored in (data / "a.py", cache / "b.py", tmp_path / "c.log"):
        ignored.write_text("1")
    (tmp_path / "duly.yaml").write_text("{}")
    await until(lambda: "duly.yaml" in seen)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching

    assert set(seen) == {"first.py", "duly.yaml"}


@pytest.mark.parametrize("inside", [True, False])
def test_the_folder_of_the_package_is_watched_too(tmp_path, monkeypatch, inside):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    package = (here if inside else elsewhere) / "own_shop"
    package.mkdir(parents=True)
    here.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(here), str(elsewhere), *sys.path])

    assert watched("own_shop.jobs:app") == ((here,) if inside else (here, package))
