"""One run: the services, Prometheus and Alertmanager, and one provocation after the other."""

import asyncio
from time import monotonic

from alerting import alerting, wait_for_quiet, wait_for_silence
from fleet import fleet
from provocations import measure
from scaling import scaled, shipped

from duly.testing.waiting import NotInTimeError

FACTOR = 60
"""What times of the rules are divided by: an hour is a minute."""


async def provoke(folder, provocations, *, factor=FACTOR, workers=None, say=print, look=None):
    """Provoke alerts; return alert → (seconds until it fired, until it was resolved, how).

    An alert that did not fire, or did not end, is told of and left out.

    Args:
        folder: For logs and data.
        provocations: Those that disturb nobody go on at the same time, the others follow alone.
        factor: What times of the rules are divided by.
        workers: Names of those that are needed; None: all.
        say: Called with a line for each alert.
        look: Called at the end, with the port of Prometheus and the seconds of the run.
    """
    found, began = {}, monotonic()
    async with fleet(folder, workers) as services:
        with alerting(folder, scaled(shipped(), factor), services.targets) as (heard, port):
            wanted = [labels for one in provocations for labels in one.wanted().values()]
            await asyncio.to_thread(wait_for_silence, port, services.targets, wanted)
            scraped = monotonic()
            say(f"{scraped - began:.0f} s: everything is scraped, and none of the alerts fires")

            async def one(provocation):
                try:
                    # The provocation before may have caused it as well.
                    await asyncio.to_thread(wait_for_quiet, port, [*provocation.wanted().values()])
                    took = await measure(provocation, services, heard)
                except NotInTimeError as error:
                    say(f"{monotonic() - began:.0f} s: {error}")
                    return
                found.update({name: (*both, provocation.how) for name, both in took.items()})
                for name, (fired, resolved) in took.items():
                    say(
                        f"{monotonic() - began:.0f} s: {name}: fired after {fired} s, "
                        f"resolved after {resolved} s"
                    )

            async with asyncio.TaskGroup() as group:
                for provocation in (each for each in provocations if not each.alone):
                    group.create_task(one(provocation))
            for provocation in (each for each in provocations if each.alone):
                await one(provocation)
            if look is not None:
                await asyncio.to_thread(look, port, int(monotonic() - scraped))
    return found
