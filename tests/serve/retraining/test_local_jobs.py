"""Jobs as processes of this machine: found again, last in line, killed whole, and never two of one name."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.retraining.child import CANNOT_START, GROUP_FILE, OUTPUT_FILE
from serve.retraining.jobs import JobState, JobView, command, local_command
from serve.retraining.local_jobs import KEPT_FOLDERS, LocalJobs
from serve.retraining.requests import Request
from tests.ehr.server import wait_for
from tests.serve.retraining.parts import BUNDLE, Work, settings

REQUEST = Request("r1", "person", "ops", "why", (), "1.0.0", BUNDLE, 1_790_000_000_123, "running", 1, 0, 5, None, None)
RUNNING = JobView(JobState.RUNNING)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


class Started:
    def __init__(self, tmp_path: Path, work: Work, **more: Any) -> None:
        self.folder = tmp_path / "jobs"
        self.jobs = LocalJobs(settings(tmp_path, **work.settings(**more)), self.folder)

    def tried(self, work: Work, tries: int = 1) -> dict[str, Any]:
        wait_for(lambda: len(work.tries()) == tries, 60)
        return work.tries()[-1]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def started(tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    for name in ("PROMETHEUS_MULTIPROC_DIR", "RAY_ADDRESS", "OMP_NUM_THREADS", "KEPT_BY_THE_JOB"):
        monkeypatch.setenv(name, "1")
    found = Started(tmp_path, work, retraining_memory_gib=1.5)
    yield found
    for each in found.folder.glob("*/"):
        found.jobs.end(each.name)


def test_a_job_runs_to_its_end_and_its_exit_code_is_kept(started: Started, work: Work) -> None:
    jobs = started.jobs
    assert jobs.look("a") == JobView(JobState.ABSENT)
    jobs.begin("a", REQUEST)
    assert jobs.look("a") == RUNNING
    tried = started.tried(work)
    assert tried["argv"] == ["--spec", str(work.spec), "--as-of", "2026-09-21T14:13:20Z",
                              "--as=ops (person)", "--reason=why"]  # fmt: skip
    work.go(7)
    wait_for(lambda: jobs.look("a") != RUNNING, 60)
    assert jobs.look("a") == JobView(JobState.ENDED, 7)
    assert (started.folder / "a" / OUTPUT_FILE).read_text() == "at work\n"
    assert (started.folder / "a").stat().st_mode & 0o777 == 0o700


def test_it_is_last_in_line_for_everything(started: Started, work: Work) -> None:
    started.jobs.begin("a", REQUEST)
    tried = started.tried(work)
    assert tried["nice"] == 19
    assert tried["policy"] == os.SCHED_IDLE
    assert tried["oom"] == 1000
    assert tried["memory"] == 1.5 * 2**30
    assert tried["environment"]["KEPT_BY_THE_JOB"] == "1"
    assert not {"PROMETHEUS_MULTIPROC_DIR", "RAY_ADDRESS", "OMP_NUM_THREADS"} & tried["environment"].keys()


def test_a_new_replica_finds_it_and_begins_no_second_one(started: Started, tmp_path: Path, work: Work) -> None:
    started.jobs.begin("a", REQUEST)
    started.tried(work)
    other = LocalJobs(settings(tmp_path, **work.settings()), started.folder)
    assert other.look("a") == RUNNING
    other.begin("a", REQUEST)
    started.jobs.begin("a", REQUEST)
    work.go()
    wait_for(lambda: other.look("a") == JobView(JobState.ENDED, 0), 60)
    other.begin("a", REQUEST)
    assert len(work.tries()) == 1


def test_killing_any_of_its_processes_is_seen_and_leaves_none(started: Started, work: Work) -> None:
    jobs = started.jobs
    jobs.begin("command", REQUEST)
    os.kill(started.tried(work)["pid"], signal.SIGKILL)
    wait_for(lambda: jobs.look("command") == JobView(JobState.ENDED, -9), 60)

    jobs.begin("guard", REQUEST)
    pid = started.tried(work, 2)["pid"]
    guard = int((started.folder / "guard" / GROUP_FILE).read_text())
    os.kill(guard, signal.SIGKILL)
    wait_for(lambda: is_gone(guard), 60)
    # Its command goes on, so it runs: a second one beside it would be two.
    assert jobs.look("guard") == RUNNING
    jobs.end("guard")
    assert jobs.look("guard") == JobView(JobState.KILLED)
    wait_for(lambda: is_gone(pid), 60)


def test_an_end_is_an_end(started: Started, work: Work) -> None:
    started.jobs.begin("a", REQUEST)
    started.tried(work)
    started.jobs.end("a")
    assert started.jobs.look("a") == JobView(JobState.ENDED, -15)
    started.jobs.end("a")
    started.jobs.end("never-begun")


def test_a_job_that_is_let_go_says_so_unless_it_came_to_its_end(started: Started, work: Work) -> None:
    started.jobs.begin("a", REQUEST)
    started.tried(work)
    started.jobs.let_go("a")
    assert started.jobs.look("a") == JobView(JobState.LET_GO)
    started.jobs.begin("b", REQUEST)
    started.tried(work, 2)
    work.go()
    wait_for(lambda: started.jobs.look("b") != RUNNING, 60)
    started.jobs.let_go("b")
    assert started.jobs.look("b") == JobView(JobState.ENDED, 0)


def test_the_folder_has_one_name_for_all_services(tmp_path: Path, work: Work) -> None:
    first, second = (LocalJobs(settings(tmp_path, **work.settings()), tmp_path / "jobs") for _ in range(2))
    assert first.holder == second.holder
    assert LocalJobs(settings(tmp_path, **work.settings()), tmp_path / "other").holder != first.holder


def test_a_command_that_is_not_there_says_so(tmp_path: Path, work: Work) -> None:
    started = Started(tmp_path, work, retraining_command=["/nowhere/lang1"])
    started.jobs.begin("a", REQUEST)
    wait_for(lambda: started.jobs.look("a") == JobView(JobState.ENDED, CANNOT_START), 60)
    assert "cannot be started" in (started.folder / "a" / OUTPUT_FILE).read_text()


def test_the_memory_limit_ends_the_job_and_nothing_else(tmp_path: Path, work: Work) -> None:
    hungry = [sys.executable, "-c", "x = bytearray(800 * 2**20)"]
    started = Started(tmp_path, work, retraining_command=hungry, retraining_memory_gib=0.4)
    started.jobs.begin("a", REQUEST)
    wait_for(lambda: started.jobs.look("a").state is JobState.ENDED, 60)
    assert started.jobs.look("a").exit_code == 1
    assert "MemoryError" in (started.folder / "a" / OUTPUT_FILE).read_text()


def test_old_folders_go(started: Started, work: Work) -> None:
    work.go()
    for i in range(KEPT_FOLDERS + 2):
        old = started.folder / f"old-{i}"
        old.mkdir(parents=True)
        os.utime(old, (i, i))
    started.jobs.begin("a", REQUEST)
    assert len(list(started.folder.iterdir())) == KEPT_FOLDERS
    assert not (started.folder / "old-0").exists()


def test_lang1_is_this_environments_own(tmp_path: Path, work: Work) -> None:
    words = command(settings(tmp_path, retraining_spec=str(work.spec)), REQUEST)
    assert words[:4] == ["lang1", "retrain", "run", "--spec"]
    assert local_command(words)[:5] == [sys.executable, "-m", "lang1.cli.main", "retrain", "run"]
    assert local_command(["/opt/other", "x"]) == ["/opt/other", "x"]
