"""A page's picture, by a Chromium of the machine's own, without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar, Final

from lang1.errors import Lang1Error

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
WIDTH: Final = 1280
MAX_HEIGHT: Final = 16_000
_TIMEOUT_S: Final = 120
_FLAGS: Final = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--force-color-profile=srgb", "--force-device-scale-factor=1",
    # A page of ours has no script, and a container seldom lets Chromium make its sandbox.
    "--no-sandbox",
)  # fmt: skip
_HEIGHT: Final = re.compile(r"<title>height (\d{1,6})</title>")
_MEASURE: Final = "<script>document.title='height '+document.documentElement.scrollHeight</script>"


class PictureError(Lang1Error):
    """No picture could be taken."""

    code: ClassVar[str] = "not-supported"


def take_picture(page: Path, picture: Path, width: int = WIDTH) -> None:
    """Write the whole of an HTML file as a PNG, `width` CSS pixels wide. Raises PictureError."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise PictureError(f"no browser for pictures; install chromium, or leave --png out ({', '.join(BROWSERS)})")
    with tempfile.TemporaryDirectory(prefix="lang1-picture-", ignore_cleanup_errors=True) as scratch:
        # A screenshot is as high as the window, so a copy of the page is asked for its height first.
        copy = Path(scratch) / "page.html"
        copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{_MEASURE}</body>"), encoding="utf-8")
        told = _run(browser, scratch, [f"--window-size={width},800", "--dump-dom", copy.as_uri()])
        height = _HEIGHT.search(told)
        if height is None:
            raise PictureError("the browser did not tell the page's height; leave --png out, or try another one")
        size = f"--window-size={width},{min(MAX_HEIGHT, int(height[1]))}"
        taken = Path(scratch) / "picture.png"
        _run(browser, scratch, [size, f"--screenshot={taken}", page.absolute().as_uri()])
        if not taken.is_file():
            raise PictureError("the browser wrote no picture; leave --png out, or try another one")
        shutil.move(taken, picture)


def _run(browser: str, scratch: str, arguments: list[str]) -> str:
    command = [browser, *_FLAGS, f"--user-data-dir={scratch}/profile", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True)  # noqa: S603 - found above
    except (OSError, subprocess.SubprocessError) as error:
        raise PictureError(f"the browser {browser} failed ({type(error).__name__}); leave --png out") from None
    return done.stdout.decode(errors="replace")
