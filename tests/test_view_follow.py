"""The server of ``zeroloss view --follow``: newer data of a run in progress, for this machine and this token only."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from http import HTTPStatus

import pytest

import zeroloss as zl
from command import run_command
from zeroloss import config, runs
from zeroloss.view import follow
from zeroloss.view.output import _named_runs


def simulate(steps=40):
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
    descent = zl.GradientDescent(lr=0.1)
    return zl.simulate(descent, data, net, steps=steps, record_every=10, snapshot_every=20, progress=False)


@pytest.fixture
def directory(tmp_path):
    simulate().save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def server(directory, monkeypatch):
    """Serve without a rest between two readings."""
    monkeypatch.setattr(follow, "_PAUSE", 0.0)
    monkeypatch.setattr(follow, "_REST", 0.0)
    with follow.Server(follow.Follower([directory], _named_runs), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def request(server, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_the_server_listens_on_the_loopback_interface_with_a_random_token(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) >= 32
    with follow.Server(server.follower, 0) as other:
        assert other.token != server.token


def test_only_the_page_and_its_data_are_served(server):
    page = f"/{server.token}/"
    status, content = request(server, page)
    assert status == 200
    assert b"connect-src 'self'" in content
    for path in ("/", f"/{'x' * len(server.token)}/", f"{page}run.json", f"{page}../run.json", "/data", f"{page}data/"):
        assert request(server, path) == (404, b"")
    assert request(server, page, host="example.org") == (404, b"")
    for method in ("POST", "PUT", "DELETE"):
        assert request(server, page, method)[0] == 501


def test_data_are_sent_when_the_files_have_changed(server, directory):
    data = f"/{server.token}/data?version="
    status, content = request(server, f"{data}0")
    first = json.loads(content)
    assert (status, first["runs"][0]["records"]) == (200, 5)
    assert request(server, f"{data}{first['version']}") == (204, b"")
    run = zl.load(directory)
    run.extend(20).save(directory)
    status, content = request(server, f"{data}{first['version']}")
    second = json.loads(content)
    assert (status, second["runs"][0]["records"]) == (200, 7)
    assert second["layout"] == first["layout"]
    assert second["version"] > first["version"]


def test_a_run_that_cannot_be_read_at_the_moment_is_not_an_error(server, directory):
    path = next((directory / "checkpoints").iterdir())
    path.rename(directory / "moved")
    assert request(server, f"/{server.token}/data?version=0") == (503, b"")
    (directory / "moved").rename(path)
    assert request(server, f"/{server.token}/data?version=nonsense")[0] == 200


def test_a_run_that_is_followed_has_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_PAUSE", 0.0)
    monkeypatch.setattr(follow, "_REST", 0.0)
    sections = {"data": {"p": 5, "test_count": 3}, "network": {"hidden": 8}}
    sections["run"] = {"steps": 2000, "record_every": 100, "snapshot_every": 500, "checkpoint_every": 100}
    alone = runs.run(config.from_settings(sections), tmp_path / "alone", progress=False)
    versions, read = [], []

    def look(step, values):
        if not read and (tmp_path / "followed" / "checkpoints").is_dir() and step >= 200:
            read.append(follow.Follower([tmp_path / "followed"], _named_runs))
        if read:
            versions.append(json.loads(read[0].newer(0))["version"])

    followed = runs.run(config.from_settings(sections), tmp_path / "followed", progress=False, on_record=look)
    assert len(set(versions)) > 10
    assert followed.history.identical(alone.history)
    for name in ("E", "W"):
        assert getattr(followed.network, name).tobytes() == getattr(alone.network, name).tobytes()


def test_the_options_of_files_and_servers_exclude_each_other(directory, tmp_path):
    done = run_command("view", directory, "--follow", "--out", tmp_path / "a.html")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be combined" in done.stderr
    done = run_command("view", tmp_path / "nothing", "--follow", "--no-open")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_follows_a_run(browser, server, directory):
    browser.open(server.address)
    assert browser.text("step") == "40"
    zl.load(directory).extend(60).save(directory)
    browser.wait(lambda: browser.text("step") == "100")
    assert len(browser.data("loss 0")["step"]) == 11
    assert "at step 100" in browser.run("return document.querySelector('.snapshot').textContent")
    assert browser.errors() == []
    browser.choose("cursor", 3)
    zl.load(directory).extend(20).save(directory)
    browser.wait(lambda: browser.find("cursor").get_attribute("max") == "12")
    assert browser.text("step") == "30"
    browser.driver.get("about:blank")  # No page asks a server that has ended.


def test_the_command_serves_until_ctrl_c_and_writes_no_file(directory):
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
    words = [sys.executable, "-m", "zeroloss", "view", directory, "--follow", "--no-open"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().removeprefix("page: ").strip()
        try:
            with urllib.request.urlopen(f"{address}data?version=0", timeout=300) as answer:
                assert json.load(answer)["runs"][0]["records"] == 5
        finally:
            os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 0
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*")) == files


def test_a_page_that_is_closed_while_it_is_sent_is_no_error():
    sent = []

    class ClosedConnection:
        def write(self, content):
            sent.append(content)
            raise BrokenPipeError

    handler = object.__new__(follow._Handler)
    handler.wfile, handler.request_version, handler.requestline = ClosedConnection(), "HTTP/1.1", "GET / HTTP/1.1"
    handler._send(HTTPStatus.OK, b"content", "text/plain")
    assert len(sent) == 1
