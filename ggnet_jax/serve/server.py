"""Serve the page: one process, one network, no connection to anywhere else."""

import errno
import logging
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image

from ggnet_jax.cli.image_paths import find_images
from ggnet_jax.cli.predict import labels
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, Detector
from ggnet_jax.inference.image_files import endings, read_file
from ggnet_jax.inference.images import load_image
from ggnet_jax.inference.interactions import check_threshold_option
from ggnet_jax.run_dir.checkpoints import Step
from ggnet_jax.run_dir.folder import EXAMPLES, require_run
from ggnet_jax.serve.photos import EXPLAINABLE, Photo, look_at
from ggnet_jax.visualize import fonts

HOST, PORT = "127.0.0.1", 7860
MAX_BYTES = 50_000_000
MAX_PIXELS = 50_000_000
MAX_EXAMPLES = 12
_GRADIO = (6, 31)  # the oldest that was tried
_SESSIONS = 100  # whose photos are kept in memory, about 25 MB each at most
WAITING = 30  # photos that may wait for the network
# Scripts and styles of the page itself, and nothing from anywhere else.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; form-action 'self'; base-uri 'self'"
)


def run_server(
    workdir: str | os.PathLike,
    *,
    images: str | os.PathLike | Iterable[str | os.PathLike] | None = None,
    step: Step = None,
    threshold: float = DEFAULT_THRESHOLD,
    host: str = HOST,
    port: int = PORT,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    dtype: str | None = None,
) -> None:
    """Serve a run's network as a web page until the process is interrupted.

    Args:
        workdir: of the run.
        images: files, folders and globs of example photos; None for those of the run, which its
            evaluation drew.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        threshold: that the page starts with.
        host: address to listen on; 0.0.0.0 for every one of this machine.
        port: to listen on; 0 for any free one.
        max_bytes: of an upload.
        max_pixels: width times height of the largest photo that is read.
        dtype: in which to convolve, "float32" or "bfloat16"; None for that of training.

    Raises:
        UserError: a value makes no sense, Gradio is not installed, there is no run, an example
            can't be read, or the port is taken.
    """
    _check(threshold, port, max_bytes, max_pixels)
    require_run(Path(workdir))
    require_gradio()
    host = host.strip("[]")  # of an IPv6 address in a URL
    port = free_port(host, port)
    examples = list(read_examples(images, Path(workdir), max_pixels))
    detector = Detector.load(
        workdir, step, max_pixels=max_pixels, dtype=dtype, explained=EXPLAINABLE
    )
    fonts.say_missing(labels(detector.vocabulary))

    def look(content: bytes, name: str) -> Photo:
        return look_at(detector, content, name, max_pixels=max_pixels)

    with tempfile.TemporaryDirectory(prefix="ggnet_serve_") as uploads, environment(uploads):
        from ggnet_jax.serve import page

        blocks = page.build(
            look,
            network=describe(detector, Path(workdir)),
            examples=examples,
            uploads=Path(uploads),
            threshold=threshold,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
        )
        try:
            launch(blocks, host, port, max_bytes)
        except OSError as error:  # taken while the network was loaded
            raise UserError(_taken(host, port)) from error
        try:
            print(f"{workdir} at http://{_shown_host(host)}:{port} (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nstopped", flush=True)
        finally:
            stop(blocks)


def launch(blocks: Any, host: str, port: int, max_bytes: int) -> None:
    """Start answering, in threads of its own."""
    from starlette.middleware import Middleware

    from ggnet_jax.serve.page import ASSETS

    blocks.queue(max_size=WAITING, default_concurrency_limit=4)
    blocks.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        inbrowser=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        state_session_capacity=_SESSIONS,
        max_file_size=max_bytes,
        theme=_theme(),
        # Not as `css`, whose selectors Gradio rewrites.
        head=f"<style>{(ASSETS / 'page.css').read_text(encoding='utf-8')}</style>",
        app_kwargs={"middleware": [Middleware(Headers)]},
    )


def stop(blocks: Any) -> None:
    """End it within a second or two, though every open page holds a connection without end."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it counts what it cuts off
    blocks.server.config.timeout_graceful_shutdown = 1
    blocks.close(verbose=False)


def _theme() -> Any:
    """Fonts of the visitor's system, and gray texts that are dark enough to read."""
    from gradio import themes

    theme = themes.Default(
        primary_hue="blue", neutral_hue="slate", font=("system-ui", "sans-serif")
    )
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
    )


class Headers:
    """ASGI middleware that tells browsers to load nothing from other hosts."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def require_gradio() -> None:
    """Raise a UserError if Gradio is not installed, or too old."""
    how = "pip install -e '.[serve]' in a checkout, or pip install 'ggnet-jax[serve]'"
    try:
        installed = version("gradio")
    except PackageNotFoundError:
        raise UserError(f"--mode=serve needs Gradio, which is not installed: {how}") from None
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) < _GRADIO:
        needed = ".".join(map(str, _GRADIO))
        raise UserError(f"--mode=serve needs Gradio {needed} or newer, not {installed}: {how}")


def free_port(host: str, port: int) -> int:
    """The port to listen on; one that is free in place of 0.

    Raises:
        UserError: another program listens there, it is not allowed, or there is no such host.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return probe.getsockname()[1]
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            why = _taken(host, port)
        elif code == errno.EACCES:
            why = f"port {port} needs root's rights; give one above 1023, such as --port={PORT}"
        else:
            why = f"--host={host} is no address of this machine; 127.0.0.1 is, 0.0.0.0 means all"
        raise UserError(why) from error


def _taken(host: str, port: int) -> str:
    return f"port {port} of {host} is in use; give another one, such as --port={port + 1}"


def describe(detector: Detector, workdir: Path) -> str:
    """A line about the network: what it knows and where it comes from."""
    names = detector.vocabulary
    text = f"GGNet, {names.num_verbs} verbs and {names.num_objects} kinds of objects"
    return f"{text}; {workdir.resolve().name}, step {detector.step:,}"


def _check(threshold: float, port: int, max_bytes: int, max_pixels: int) -> None:
    check_threshold_option(threshold)
    if not 0 <= port <= 65535:
        raise UserError(f"--port={port}; a port is a number from 1 to 65535, or 0 for any free one")
    if max_bytes < 1:
        raise UserError(f"--max_bytes={max_bytes}; give the bytes of the largest upload")
    if max_pixels < 1:
        raise UserError(f"--max_pixels={max_pixels}; give width times height of the largest image")


def read_examples(
    images: Any, workdir: Path, max_pixels: int
) -> Iterator[tuple[str, bytes, Image.Image]]:
    """Name, content and thumbnail of example photos; a UserError for one that can't be read."""
    if images is None:
        folder = workdir / EXAMPLES
        entries = folder.iterdir() if folder.is_dir() else ()
        if not any(entry.suffix.lower() in endings() for entry in entries):
            return
        images = folder
    paths = find_images(images)
    if len(paths) > MAX_EXAMPLES:
        print(f"the first {MAX_EXAMPLES} of {len(paths)} images are shown as examples")
    for path in paths[:MAX_EXAMPLES]:
        image = Image.fromarray(load_image(path, max_pixels=max_pixels))
        image.thumbnail((192, 192))
        yield path.name, read_file(path, max_pixels), image


def _shown_host(host: str) -> str:
    """As a browser on this machine reaches it."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextmanager
def environment(uploads: str) -> Iterator[None]:
    """What Gradio reads of the environment: no telemetry, and uploads in a folder that goes."""
    values = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": uploads,
        "GRADIO_SHARE": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Gradio asks its own page whether it is there, which is nothing for a proxy.
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost"))),
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
