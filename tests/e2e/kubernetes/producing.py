"""Load from within the cluster: a producer whose ledger does not depend on a connection to it."""

import shlex

from cluster import SCRIPT, Release, wait_for

PYTHON = "/opt/duly/bin/python"


class Producer:
    """Sends tasks from a pod until it has sent so many, or is stopped.

    It runs detached, and writes down in the pod what was accepted. A stream of `kubectl exec` would
    break off when the API server or the kubelet is slow, and would take the ledger with it.
    """

    def __init__(
        self,
        release: Release,
        queue: str,
        count: int,
        per_second: int,
        prefix: str,
        *,
        pod: str = "toolbox",
        script: str = "",
    ) -> None:
        self._release, self._pod, self._ledger = release, pod, f"/tmp/produce-{prefix}"
        self._stop_file = f"/tmp/stop-{prefix}"
        words = (
            PYTHON,
            f"{self._ledger}.py",
            "produce",
            queue,
            str(count),
            str(per_second),
            prefix,
        )
        run = f"{shlex.join(words)} > {self._ledger}.accepted 2> {self._ledger}.errors"
        release.kubectl(
            *("exec", "--stdin", pod, "--", "sh", "-c"),
            f"cat > {self._ledger}.py; ({run}; echo $? > {self._ledger}.status) > /dev/null 2>&1 &",
            stdin=script or SCRIPT.read_text(),
        )

    def _told(self, command: str) -> str:
        return self._release.exec(self._pod, "sh", "-c", command).strip()

    def is_sending(self) -> bool:
        return self._told(f"test -e {self._ledger}.status || echo still") == "still"

    def stop(self, seconds: float = 180) -> int:
        """End it before its count; give how many tasks were accepted."""
        self._told(f"touch {self._stop_file}")
        return self.finish(seconds)

    def finish(self, seconds: float) -> int:
        """Wait until it has ended; give how many tasks were accepted."""
        report = ""

        def ended() -> bool:
            nonlocal report
            accepted, errors = f"{self._ledger}.accepted", f"{self._ledger}.errors"
            report = self._told(
                f"cat {self._ledger}.status && sort -u {accepted} | wc -l && tail -c 2000 {errors}"
            )
            return True

        wait_for("end of the producer", seconds, ended)
        status, count, errors = f"{report}\n\n".split("\n", 2)
        assert status == "0", errors
        assert "refused" not in errors, errors
        return int(count)
