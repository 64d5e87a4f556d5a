"""The rules of the tiers (conftest.py) hold: each broken rule is noticed, each kept one passes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(
        reason="each starts pytest with the conftest, which imports what tests share"
    ),
]

CONFTEST = Path(__file__).with_name("conftest.py")
PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project under the same conftest and settings; a test has 0.1 s of processor time."""
    text, limit = CONFTEST.read_text(encoding="utf-8"), "CPU_LIMIT = 6.0"
    assert limit in text
    pytester.makeconftest(text.replace(limit, "CPU_LIMIT = 0.1"))
    pytester.makefile(".toml", pyproject=PYPROJECT.read_text(encoding="utf-8"))
    # Looking for plugins reads every installed package's files: seconds in a large environment.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    pytester.makepyfile(ray="")  # stands in for Ray
    return pytester


def outcome(project: pytest.Pytester, body: str, *args: str) -> tuple[int, str]:
    """Exit code and output of pytest on a module with `body`."""
    project.makepyfile(test_it="import pytest, time\n" + body)
    result = project.runpytest_inprocess("test_it.py", *args)
    return int(result.ret), result.stdout.str() + result.stderr.str()


UNIT = "pytestmark = pytest.mark.unit\n"
SHORT = "def test_it(): pass\n"
BUSY = """def test_it():
    start = time.process_time()
    while time.process_time() - start < 0.15: pass
"""


def waiting(seconds: float) -> str:
    """A test in which so many seconds seem to pass; how long a real wait takes varies."""
    return (
        "def test_it(monkeypatch):\n"
        f"    later = time.perf_counter() + {seconds}\n"
        "    monkeypatch.setattr(time, 'perf_counter', lambda: later)\n"
    )


@pytest.mark.parametrize(
    "body",
    [
        UNIT + SHORT,
        UNIT + waiting(15),
        UNIT + '@pytest.mark.slow(reason="trains a network")\n' + BUSY,
        "@pytest.mark.integration\n" + BUSY,
        "@pytest.mark.browser\n" + BUSY,
    ],
    ids=["short", "waiting", "slow-with-reason", "integration", "browser"],
)
def test_kept_rules_pass(project: pytest.Pytester, body: str) -> None:
    code, output = outcome(project, body)
    assert code == 0, output


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (SHORT, "must have exactly one of"),
        (UNIT + "@pytest.mark.campaign\n" + SHORT, "['campaign', 'unit']"),
        (UNIT + "@pytest.mark.slow\n" + SHORT, "slow must state its reason"),
        (UNIT + BUSY, "s of processor time"),
        (UNIT + waiting(25), "25.0 s by the clock"),
        (UNIT + "import ray\ndef test_it(): pass\n", "test_it.py imports ray"),
        (UNIT + "def test_it():\n    import ray\n", "test_it imported ray"),
    ],
    ids=[
        "no-tier",
        "two-tiers",
        "slow-without-reason",
        "busy",
        "asleep",
        "ray-above",
        "ray-in-test",
    ],
)
def test_broken_rules_fail(project: pytest.Pytester, body: str, message: str) -> None:
    code, output = outcome(project, body, "-m", "unit")
    assert code not in (0, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert message in output


def test_an_empty_tier_is_an_error_and_a_skip_with_reason_is_not(
    project: pytest.Pytester,
) -> None:
    code, output = outcome(project, UNIT + SHORT, "-m", "browser")
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, output
    skips = '@pytest.mark.browser\ndef test_it(): pytest.skip("no browser")\n'
    code, output = outcome(project, skips, "-m", "browser")
    assert code == 0, output
    assert "no browser" in output


def test_the_unit_tier_does_not_import_modules_of_other_tiers(project: pytest.Pytester) -> None:
    project.makepyfile(test_on_ray="import pytest, ray\npytestmark = [pytest.mark.integration]\n")
    project.makepyfile(test_plain=f"import pytest\n{UNIT}{SHORT}")
    result = project.runpytest_inprocess(project.path, "-m", "unit")
    result.assert_outcomes(passed=1)
