"""A bulk export into a service: everything arrives once dealt with, whatever breaks on the way, and a break goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fhir_adapters.client.bulk import BulkExport
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import FhirServerError
from lang1.cli import pull
from serve.errors import SettingsError
from serve.intake.feeding import FeedError, ServiceFeed, Tally, batches
from serve.intake.pulling import PullState, pull_export, pull_file
from tests.ehr.server import TestEhr
from tests.serve.notes import document


class Service:
    """Answers batches as the service does: `answers` come first, then 200; `refuse` and `busy` are of one resource."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.busy: dict[str, int] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        self.taken: list[str] = []
        self.sizes: list[int] = []
        self.tokens: set[str | None] = set()
        self.max_entries = 1000
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.tokens.add(self.headers.get("authorization"))
                status, headers, answer = outer._answer(self.path, json.loads(body))
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, bundle: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        assert path == "/fhir"
        with self._lock:
            if self.answers:
                return (*self.answers.pop(0), {})
            if len(bundle["entry"]) > self.max_entries:
                return 413, {}, {}
            self.sizes.append(len(bundle["entry"]))
            return 200, {}, {"entry": [{"response": self._entry(each)} for each in bundle["entry"]]}

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        assert entry["request"] == {"method": "POST", "url": "DocumentReference/$score"}
        name = entry["resource"]["id"]
        if self.busy.get(name, 0):
            self.busy[name] -= 1
            return {"status": "503", "outcome": {"issue": [{"code": "throttled"}]}}
        if name in self.refuse:
            status, code = self.refuse[name]
            return {"status": str(status), "outcome": {"issue": [{"code": code}]}}
        self.taken.append(name)
        return {"status": "200"}


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def export(ehr: TestEhr) -> Iterator[BulkExport]:
    client = FhirClient(ehr.url)
    ehr.bulk.behaviour.lines_per_file = 7
    yield BulkExport(client)
    client.close()


def feed(service: Service, **options: Any) -> ServiceFeed:
    return ServiceFeed(service.url, sleep=lambda _: None, **options)


def names(count: int) -> list[str]:
    return [f"n{place}" for place in range(count)]


def pulled(export: BulkExport, to: ServiceFeed, path: Path, *, parallel: int = 2, max_entries: int = 3) -> Tally:
    return pull_export(
        export, to, PullState(path),
        start=lambda since: export.start(types=["DocumentReference"], since=since),
        wait=lambda state: export.wait(state, timeout_s=10),
        parallel=parallel, max_entries=max_entries, advance=lambda count: None,
    )  # fmt: skip


def test_an_export_arrives_whole_and_the_next_one_brings_what_changed_since(
    ehr: TestEhr, export: BulkExport, service: Service, tmp_path: Path
) -> None:
    for name in names(20):
        ehr.add(document(id=name))
    tally = pulled(export, feed(service), tmp_path / "state.json")
    assert (tally.taken, dict(tally.refused), sorted(service.taken)) == (20, {}, sorted(names(20)))
    assert max(service.sizes) <= 3
    assert ehr.bulk.deleted == ["x1"]
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0
    ehr.add(document(id="later"))
    assert pulled(export, feed(service), tmp_path / "state.json").taken == 1
    assert service.taken[-1] == "later"


def test_what_the_service_is_too_busy_for_is_sent_again_and_what_it_refuses_is_counted(
    ehr: TestEhr, export: BulkExport, service: Service, tmp_path: Path
) -> None:
    for name in names(10):
        ehr.add(document(id=name))
    service.answers = [(503, {"Retry-After": "1"}), (502, {})]
    service.busy = {"n3": 3}
    service.refuse = {"n5": (422, "business-rule"), "n6": (422, "structure"), "n7": (422, "structure")}
    tally = pulled(export, feed(service), tmp_path / "state.json")
    assert (tally.taken, dict(tally.refused)) == (7, {"business-rule": 1, "structure": 2})
    assert len(service.taken) == len(set(service.taken)) == 7


def test_a_break_goes_on_where_it_was(ehr: TestEhr, export: BulkExport, service: Service, tmp_path: Path) -> None:
    for name in names(20):
        ehr.add(document(id=name))
    service.busy = {"n11": 1000}
    with pytest.raises(FeedError):
        pulled(export, feed(service), tmp_path / "state.json", parallel=1)
    before = len(service.taken)
    assert before < 20
    service.busy.clear()
    assert pulled(export, feed(service), tmp_path / "state.json", parallel=1).total <= 20 - before + 3
    assert set(service.taken) == set(names(20))
    assert len(ehr.requests("GET", "$export")) == 1


def test_a_line_that_is_no_resource_is_counted_and_passed_over(
    ehr: TestEhr, export: BulkExport, service: Service, tmp_path: Path
) -> None:
    for name in names(20):
        ehr.add(document(id=name))
    ehr.bulk.behaviour.corrupt = {
        ("DocumentReference", 3): b"{",
        ("DocumentReference", 15): b'{"resourceType": "Basic"}',
    }
    ehr.bulk.behaviour.counts = False
    tally = pulled(export, feed(service), tmp_path / "state.json")
    assert (tally.taken, dict(tally.refused)) == (18, {"structure": 2})


def test_too_large_a_batch_is_halved(service: Service) -> None:
    service.max_entries = 2
    assert feed(service).send([document(id=name) for name in names(7)]).taken == 7
    assert max(service.sizes) <= 2


def test_a_token_is_read_at_each_call_and_a_refused_one_ends_it(service: Service, tmp_path: Path) -> None:
    token = tmp_path / "token"
    made = feed(service, token_file=token)
    with pytest.raises(FeedError, match="FileNotFoundError"):
        made.send([document()])
    for text in ("first\n", "second"):
        token.write_text(text)
        made.send([document()])
    assert service.tokens == {"Bearer first", "Bearer second"}
    service.answers = [(401, {})]
    with pytest.raises(FeedError, match="401"):
        made.send([document()])


def test_a_service_that_is_away_is_waited_for_and_then_given_up() -> None:
    with pytest.raises(FeedError, match="ConnectError"):
        ServiceFeed("http://127.0.0.1:9", retry_for_s=0.01).send([document()])


def test_batches_hold_so_many_and_so_much() -> None:
    resources = [(place, document(id=str(place))) for place in range(10)]
    assert [(last, len(group)) for last, group in batches(resources, 4)] == [(3, 4), (7, 4), (9, 2)]
    assert [len(group) for _, group in batches(resources, 100, 1500)] == [2] * 5


def test_local_files_are_read_from_where_they_were_left(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "notes.ndjson"
    lines = [json.dumps(document(id=name)) for name in names(10)]
    file.write_text("\n".join([*lines[:5], "{broken", "", *lines[5:]]) + "\n")
    state = PullState(tmp_path / "state.json")
    service.busy = {"n8": 1000}
    options: dict[str, Any] = {"parallel": 1, "max_entries": 2, "advance": lambda count: None}
    with pytest.raises(FeedError):
        pull_file(file, feed(service), state, **options)
    service.busy.clear()
    before = len(service.taken)
    pull_file(file, feed(service), PullState(tmp_path / "state.json"), **options)
    assert set(service.taken) == set(names(10))
    assert len(service.taken) - before <= 4
    assert pull_file(file, feed(service), PullState(tmp_path / "state.json"), **options).total == 0


def test_a_state_file_of_something_else_is_refused(tmp_path: Path) -> None:
    for text in ("{}", "x", '{"export": 5, "since": null, "files": {}}'):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(SettingsError):
            PullState(tmp_path / "state.json")


def settings_file(tmp_path: Path, **values: Any) -> str:
    (tmp_path / "settings.yaml").write_text(json.dumps({"state_dir": str(tmp_path / "state"), **values}))
    return str(tmp_path / "settings.yaml")


def test_the_command_pulls_and_says_what_came_of_it(ehr: TestEhr, service: Service, tmp_path: Path) -> None:
    for name in names(5):
        ehr.add(document(id=name))
    service.refuse = {"n1": (422, "structure")}
    ehr.bulk.behaviour.pending_polls = 0
    call = ["bulk", "--state", str(tmp_path / "s"), "--service", service.url, "--json",
            "--settings", settings_file(tmp_path, fhir_base_url=ehr.url)]  # fmt: skip
    done = CliRunner().invoke(pull.app, call)
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"taken": 4, "refused": {"structure": 1}})
    assert CliRunner().invoke(pull.app, call).exit_code == 0  # nothing new
    ehr.add(document(id="n1"))
    assert CliRunner().invoke(pull.app, call).exit_code == 1  # all refused
    ehr.faults.status(500, path="export")
    failed = CliRunner().invoke(pull.app, call)
    assert isinstance(failed.exception, FhirServerError)  # which lang1 turns into one line and exit code 1


@pytest.mark.parametrize(
    "wrong", [["--since", "yesterday"], ["--level", "Ward/1"], ["--type", "note"], ["--service", "x"]]
)
def test_a_wrong_call_is_exit_code_2(tmp_path: Path, wrong: list[str]) -> None:
    call = [
        "bulk",
        "--state",
        str(tmp_path / "s"),
        "--settings",
        settings_file(tmp_path, fhir_base_url="http://x/fhir"),
    ]
    assert CliRunner().invoke(pull.app, [*call, *wrong]).exit_code == 2
    assert CliRunner().invoke(pull.app, ["files", "none", "--state", "s"]).exit_code == 2
