"""Take README's two screenshots of the demo's page, after `make demo`.

    python docs/screenshots.py runs/demo/explore.html

Playwright drives an installed Chromium, whose name may be given as a second argument.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
PICTURES = {
    "flow": "view=flow&box=decoder.layer.cross_attention.core.weights&at=6&head=2",
    "learn": "view=learn&checkpoint=2&at=2&head=2",
}
"""file's name -> the page's state"""
SIZE = {"width": 1280, "height": 1260}
COLOURS = 200
"""of a picture, which so takes less than 150 kB"""


def main(page_file: Path, chromium: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(chromium), args=["--no-sandbox"])
        for name, state in PICTURES.items():
            page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
            page.goto(f"{page_file.resolve().as_uri()}#{state}")
            page.locator("[aria-busy=false]").wait_for()
            shot = Image.open(io.BytesIO(page.screenshot()))
            file = DOCS / f"{name}.png"
            shot.convert("RGB").quantize(COLOURS).save(file, optimize=True)
            print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "chromium")
