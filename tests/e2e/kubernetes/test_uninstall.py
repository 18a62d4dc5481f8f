"""At last: what of the release is left when it, or a part of it, is taken away."""

from cluster import NAMESPACE, RELEASE, Release, command, kubectl, wait_for


def test_without_the_monitor_nothing_of_it_is_left(release: Release):
    release.helm("upgrade", {"monitor": {"enabled": False}})

    left = kubectl(
        *("get", "all,secrets,configmaps,serviceaccounts,poddisruptionbudgets"),
        "--selector=app.kubernetes.io/component=monitor,app.kubernetes.io/instance=duly",
        "--output=name",
    )
    wait_for("end of the pod", 60, lambda: not release.pods("app.kubernetes.io/component=monitor"))
    assert not [line for line in left.split() if not line.startswith("pod/")]


def test_uninstall_leaves_nothing_behind(release: Release):
    command("helm", "uninstall", RELEASE, f"--namespace={NAMESPACE}", "--wait", "--timeout=180s")

    def left() -> list[str]:
        return kubectl(
            *("get", "all,pvc,secrets,configmaps,serviceaccounts,poddisruptionbudgets"),
            *(f"--selector=app.kubernetes.io/instance={RELEASE}", "--output=name"),
        ).split()

    wait_for("end of everything", 120, lambda: left() in ([], [f"pod/{RELEASE}-test"]))
    left_over = kubectl("get", "secrets,pvc", "--output=name").split()
    assert left_over == ["secret/e2e-monitor"]  # which is not the chart's
