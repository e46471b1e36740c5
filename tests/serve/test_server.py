"""Starting and ending --mode=serve: mistakes of one line, Ctrl-C, and what is left behind."""

import re
import signal
import socket
import tomllib
import urllib.request
from pathlib import Path

import pytest
from serve_site import address, serve
from tiny import make_run

from ggnet_jax.errors import UserError
from ggnet_jax.serve import run_server, server
from ggnet_jax.serve.server import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs" / "serve.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def no_gradio(monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)


@pytest.fixture
def some_gradio(monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: name)


def test_without_gradio(run, no_gradio):
    with pytest.raises(UserError, match=r"needs Gradio.*pip install -e '\.\[serve\]'"):
        run_server(run)


def test_without_a_run(tmp_path, no_gradio):
    """A mistyped workdir is worth saying before anything is installed."""
    with pytest.raises(UserError, match="does not exist; train first, or check --workdir"):
        run_server(tmp_path / "gone")
    with pytest.raises(UserError, match="holds no run"):
        run_server(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": 1.5}, "--threshold=1.5; scores lie between 0 and 1"),
        ({"threshold": float("nan")}, "--threshold=nan"),
        ({"port": 65536}, "--port=65536; a port is a number from 1 to 65535"),
        ({"port": -1}, "--port=-1"),
        ({"max_bytes": 0}, "--max_bytes=0; give the bytes of the largest upload"),
        ({"max_pixels": 0}, "--max_pixels=0; give width times height"),
        ({"host": "no such host"}, "--host=no such host is no address of this machine"),
        ({"host": "192.0.2.1"}, "--host=192.0.2.1 is no address of this machine"),
        ({"host": ""}, "--host= is no address"),
        ({"host": "http://127.0.0.1"}, "--host=http://127.0.0.1 is no address"),
        ({"images": "nothing-here.jpg", "port": 0}, "nothing-here.jpg: no such file"),
        ({"images": "nothing*.jpg", "port": 0}, "no image there"),
        ({"step": 8, "port": 0}, "step 8"),
    ],
)
def test_mistakes(run, some_gradio, options, says):
    with pytest.raises(UserError) as error:
        run_server(run, **options)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_port_that_is_taken(run, some_gradio):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use; give another"):
            run_server(run, port=port)
    assert free_port("127.0.0.1", port) == port
    assert free_port("localhost", 0) > 0


def test_ctrl_c_ends_it_and_nothing_is_left(run, tmp_path):
    pytest.importorskip("gradio", reason="Gradio is an optional install: pip install '.[serve]'")
    (tmp_path / "tmp").mkdir()
    process = serve(tmp_path, "--mode=serve", f"--workdir={run}", "--port=0")
    try:
        url = address(process)
        page = urllib.request.urlopen(url)
        assert b"Human-object interactions" in page.read()
        page.close()
        (uploads,) = (tmp_path / "tmp").glob("ggnet_serve_*")
        assert uploads.stat().st_mode & 0o077 == 0  # nobody else's to read
        # What an open page holds: a connection that has no end.
        with urllib.request.urlopen(f"{url}/gradio_api/heartbeat/somebody") as heartbeat:
            assert heartbeat.readline()
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
        assert (process.returncode, rest.split()) == (0, ["stopped"])
    finally:
        process.kill()
        process.communicate()
    assert list((tmp_path / "tmp").glob("ggnet_serve_*")) == []
    asked = (tmp_path / "connections").read_text().splitlines()
    assert {line for line in asked if "127.0.0.1" not in line} == set()


def block_of_the_guide(language: str) -> str:
    (block,) = re.findall(
        rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    return block


def test_what_a_space_installs_is_what_the_network_needs():
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["detect"]]
    assert block_of_the_guide("text").splitlines() == needed
    assert "\nsdk: gradio\n" in block_of_the_guide("yaml")


def test_the_recipe_for_a_space(run, tmp_path):
    """docs/serve.md's app.py, as it stands there, in a folder with a run."""
    pytest.importorskip("gradio", reason="Gradio is an optional install: pip install '.[serve]'")
    (tmp_path / "app.py").write_text(block_of_the_guide("python"))
    (tmp_path / "run").symlink_to(run)
    (tmp_path / "tmp").mkdir()
    process = serve(tmp_path, script=tmp_path / "app.py")
    try:
        with urllib.request.urlopen(address(process)) as page:
            assert b"Human-object interactions" in page.read()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
