"""Reports and the demo in headless Chromium: what a person does with pointer, keyboard and finger."""

from __future__ import annotations

import http.client
import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

from lle.images import read
from pipelines.config.demo import DemoSettings
from pipelines.config.fields import MeasuredPhotos
from pipelines.config.promote import PromotionSettings
from pipelines.config.vote import VotingSettings
from pipelines.evaluation.worker import LOW, Measured
from pipelines.inference.demo import demo_app
from pipelines.models.resolve import find_model, find_models
from pipelines.promotion.decision import Comparison, check_gain, check_guards, gains
from pipelines.promotion.report import promotion_report, worst_cases
from pipelines.reporting.curves import Curve, Span
from pipelines.reporting.html_report import Case, Gallery, Headline, HtmlReport, Table, render, view
from pipelines.reporting.local_page import HOST, listening
from pipelines.reporting.scatter import Scatter
from pipelines.voting.booth import Booth
from pipelines.voting.job import voting_app
from pipelines.voting.votes import read as read_votes
from tests.integration.conftest import free_port, wait_for

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(chromium, request: pytest.FixtureRequest):
    """A tab of a phone or a desktop; it fails a test in which the page complained or asked the network for anything."""
    width, height = SIZES[request.param]
    phone = request.param == "phone"
    context = chromium.new_context(
        viewport={"width": width, "height": height}, has_touch=phone, color_scheme="dark" if phone else "light"
    )
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: complaints.append(asked.url) if not_local(asked.url) else None)
    yield tab
    context.close()
    assert complaints == []


def not_local(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:", "about:", f"http://{HOST}:"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos with three pictures each, a curve and a wide table."""
    random = np.random.default_rng(0)
    cases = []
    for name, side in (("worst.jpg", 300), ("better.jpg", 200)):
        dark = random.integers(0, 60, (side, 400, 3), dtype=np.uint8)
        views = {"input": view(dark), "enhanced": view(dark * 3), "ground truth": view(dark * 4)}
        cases.append(Case(name, views, {"psnr": 12.3, "our_prior_well_lit": 0.5}))
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_bytes(
        render(
            HtmlReport(
                kind="training",
                title="night-2026",
                headlines=[Headline("PSNR", "18.97 dB", "input 7.77")],
                tables=[Table("Pairs", ["", *("a wide column",) * 8], [["input", *("1.234 dB",) * 8]])],
                curves=[Curve("PSNR", [[(10, 1.0), (20, 3.0), (40, 2.0)]], (20, 3.0))],
                spans=[Span("enhancement", 1, 0, 20), Span("enhancement", 2, 20, 40)],
                galleries=[Gallery("Held-out photos", cases, 2)],
            )
        )
    )
    return file


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The demo with the bundled model, in a thread; its address."""
    port = free_port()
    settings = DemoSettings(max_pixels=200_000, max_megabytes=1)
    config = uvicorn.Config(demo_app(find_model("bundled", ""), settings), HOST, port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started, 60, "the demo")
    yield f"http://{HOST}:{port}"
    server.should_exit = True
    thread.join(30)


def divider(tab, index: int = 0) -> float:
    """Where the divider is drawn, as a share of the picture's width."""
    boxes = [tab.locator(name).nth(index).bounding_box() for name in (".stage", ".divider")]
    return (boxes[1]["x"] + boxes[1]["width"] / 2 - boxes[0]["x"]) / boxes[0]["width"]


def fits_the_width(tab) -> bool:
    return tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_report_shows_its_pictures_from_a_file(page, report: Path):
    page.goto(report.as_uri())
    images = page.locator("img").evaluate_all("all => all.map(each => [each.complete, each.naturalWidth, each.alt])")
    assert [loaded and width for loaded, width, _ in images] == [400] * 6
    assert [alt for _, _, alt in images[:3]] == ["worst.jpg: enhanced", "worst.jpg: input", "worst.jpg: ground truth"]
    assert fits_the_width(page)
    assert page.locator("svg.chart").bounding_box()["width"] > 250


def test_the_slider_moves_by_keys_and_by_pointer(page, report: Path):
    page.goto(report.as_uri())
    slider = page.get_by_role("slider", name="Divider, worst.jpg")
    assert divider(page) == pytest.approx(0.5, abs=0.01)
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert divider(page) == pytest.approx(0.52, abs=0.01)
    assert slider.get_attribute("aria-valuetext") == "52 % input, 48 % enhanced"
    slider.press("Home")
    assert divider(page) == pytest.approx(0, abs=0.01) and divider(page, 1) == pytest.approx(0.5, abs=0.01)
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    assert divider(page) == pytest.approx(0.75, abs=0.01)


def test_the_pictures_meet_at_the_divider(page, report: Path):
    page.goto(report.as_uri())
    stage = page.locator(".stage").first
    page.get_by_role("slider", name="Divider, worst.jpg").fill("30")
    page.add_style_tag(content=".divider, .tag { display: none }")
    pixels = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("L"), float)
    width = pixels.shape[1]
    assert pixels[:, : round(0.27 * width)].mean() * 2 < pixels[:, round(0.33 * width) :].mean()


def test_the_ground_truth_takes_the_inputs_place(page, report: Path):
    page.goto(report.as_uri())
    button = page.get_by_role("button", name="ground truth").first
    button.focus()
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    left = page.locator(".layer.left").first
    assert left.locator("img:visible").evaluate_all("all => all.map(each => each.alt)") == ["worst.jpg: ground truth"]
    assert page.locator(".on-left").first.inner_text() == "ground truth"


def test_a_picture_is_zoomed_and_moved_by_keys(page, report: Path):
    page.goto(report.as_uri())
    stage, image = page.locator(".stage").first, page.locator("img").first
    stage.focus()
    plain = image.bounding_box()
    stage.press("+")
    stage.press("+")
    zoomed = image.bounding_box()
    assert zoomed["width"] == pytest.approx(2.25 * plain["width"], rel=0.01) and zoomed["x"] < plain["x"]
    stage.press("ArrowRight")
    assert image.bounding_box()["x"] == pytest.approx(zoomed["x"] - 40, abs=1)
    assert divider(page) == pytest.approx(0.5, abs=0.01)
    stage.press("0")
    assert image.bounding_box() == plain
    page.get_by_role("button", name="Zoom in").first.click()
    assert page.locator("output").first.inner_text() == "1.5×"


def test_a_finger_moves_the_divider_and_two_zoom(chromium, report: Path):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.locator(".stage").first.scroll_into_view_if_needed()
    box = tab.locator(".stage").first.bounding_box()
    fingers = context.new_cdp_session(tab)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": index}
            for index, (x, y) in enumerate(places)
        ]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.5, 0.5))
    for x in (0.4, 0.3, 0.2):
        touch("touchMove", (x, 0.5))
    touch("touchEnd")
    assert divider(tab) == pytest.approx(0.2, abs=0.02)
    touch("touchStart", (0.4, 0.5), (0.6, 0.5))
    for spread in (0.15, 0.2):
        touch("touchMove", (0.5 - spread, 0.5), (0.5 + spread, 0.5))
    touch("touchEnd")
    assert tab.locator("output").first.inner_text() == "2×"
    touch("touchStart", (0.5, 0.5))
    touch("touchMove", (0.6, 0.5))
    touch("touchEnd")
    image = tab.locator("img").first.bounding_box()
    assert image["x"] == pytest.approx(box["x"] - 0.4 * box["width"], abs=2)
    assert divider(tab) == pytest.approx(0.2, abs=0.02)
    context.close()


def test_a_promotions_report_shows_champion_beside_candidate(page, tmp_path: Path):
    pictures = [view(np.full((60, 90, 3), level, np.uint8)) for level in (10, 120, 90, 160, 240)]
    before, baseline, old, new, truth = pictures
    rival = [Measured(LOW, f"{index}.png", {"psnr": 20.0}, views=[before, baseline, old, truth]) for index in range(6)]
    ours = [
        Measured(LOW, f"{index}.png", {"psnr": 21.0 + index}, views=[before, baseline, new, truth])
        for index in range(6)
    ]
    settings, gained = PromotionSettings(data=MeasuredPhotos(dark="low", truth="high")), gains("psnr", rival, ours)
    checks = [check_gain(settings, [*gained.values()]), *check_guards(settings, rival, ours, 9.0)]
    compared = Comparison("lle-enhancer", "2", "1", rival, ours, gained, checks)
    file = tmp_path / "report.html"
    file.write_bytes(render(promotion_report(settings, compared, worst_cases(settings, compared), {})))
    page.goto(file.as_uri())
    assert page.locator(".verdict").inner_text().startswith("Version 2 is not promoted; version 1 stays champion.")
    assert page.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)") == [90] * 20
    assert fits_the_width(page)
    prose = page.locator(".scroll").first
    assert prose.evaluate("each => each.scrollWidth <= each.clientWidth")
    assert page.get_by_role("button", name="champion").first.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="ground truth").first.click()
    assert page.locator(".on-left").first.inner_text() == "ground truth"


def test_a_report_works_in_a_frame_that_may_only_run_scripts(page, report: Path, tmp_path: Path):
    viewer = tmp_path / "viewer.html"  # MLflow's artifact viewer: a sandboxed frame of a blob
    viewer.write_text(
        "<input type=file><script>document.querySelector('input').onchange = ({target}) => {"
        "const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts';"
        "frame.src = URL.createObjectURL(new Blob([target.files[0]], {type: 'text/html'}));"
        "frame.width = '100%'; frame.height = 700; document.body.append(frame)}</script>"
    )
    page.goto(viewer.as_uri())
    page.set_input_files("input", report)
    frame = page.frame_locator("iframe")
    slider = frame.get_by_role("slider", name="Divider, worst.jpg")
    slider.press("End")
    assert frame.locator(".stage").first.evaluate("each => each.style.getPropertyValue('--at')") == "100%"
    assert frame.locator("img").first.evaluate("each => each.naturalWidth") == 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(chromium, report: Path, scheme: str):
    tab = chromium.new_page(color_scheme=scheme)
    tab.goto(report.as_uri())
    colours = tab.evaluate(
        "() => Object.fromEntries(['page', 'card', 'tint', 'ink', 'soft', 'accent', 'on-accent', 'bad'].map(name =>"
        "[name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`)]))"
    )
    tab.close()
    pairs = [(text, behind) for text in ("ink", "soft") for behind in ("page", "card", "tint")]
    for text, behind in [*pairs, ("accent", "page"), ("on-accent", "accent"), ("bad", "page")]:
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)  # WCAG 2.2, 1.4.3


def contrast(one: str, other: str) -> float:
    """Ratio of relative luminances (WCAG 2.2) of two colours written #rrggbb."""

    def luminance(colour: str) -> float:
        values = np.array([int(colour.strip()[start : start + 2], 16) / 255 for start in (1, 3, 5)])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


# --- the demo ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A dark JPEG that says who took it."""
    ramp = np.linspace(0, 50, 300).astype(np.uint8)
    pixels = np.repeat(ramp[None, :, None], 200, axis=0).repeat(3, axis=2)
    exif = Image.Exif()
    exif[315] = "Ada"
    Image.fromarray(pixels).save(tmp_path / "night.jpg", exif=exif, quality=95)
    return tmp_path / "night.jpg"


def test_a_photo_is_enhanced_shown_and_downloaded(page, demo: str, photo: Path, tmp_path: Path):
    page.goto(demo)
    assert fits_the_width(page)
    page.get_by_label("Choose a photo").set_input_files(photo)
    page.locator("#result").wait_for()
    assert page.get_by_role("status").first.inner_text() == "night.jpg is enhanced."
    page.wait_for_function("[...document.images].every(each => each.naturalWidth === 300)")
    assert page.locator("#facts dt").all_inner_texts() == ["size", "decoding", "enhancing", "encoding"]
    assert page.locator("#facts dd").first.inner_text() == "300 × 200"
    page.get_by_role("slider", name="Divider, photo").press("Home")
    assert divider(page) == pytest.approx(0, abs=0.01)
    page.get_by_role("button", name="light map").click()
    assert page.locator(".legend").inner_text().split()[1::2] == ["stops", "stops"]
    assert fits_the_width(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "night-enhanced.jpg"
    kept = tmp_path / "kept.jpg"
    download.value.save_as(kept)
    assert read(kept).shape == (200, 300, 3) and read(kept).mean() > 1.5 * read(photo).mean()
    assert Image.open(kept).getexif()[315] == "Ada"


def test_the_strength_goes_from_the_photo_itself_to_more_than_trained(page, demo: str, photo: Path, tmp_path: Path):
    page.goto(demo)
    page.get_by_label("Choose a photo").set_input_files(photo)
    page.locator("#result").wait_for()
    means = list[float]()
    for key, value in (("Home", "0"), ("End", "1.5")):
        with page.expect_response(lambda answer: "/enhance" in answer.url):
            page.get_by_role("slider", name="strength").press(key)
        page.locator("#status", has_text="night.jpg is enhanced.").wait_for()
        assert page.locator("#much").inner_text() == value
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        download.value.save_as(tmp_path / f"{value}.jpg")
        means.append(float(read(tmp_path / f"{value}.jpg").mean()))
    assert means[0] == pytest.approx(float(read(photo).mean()), abs=0.5) and means[1] > 2 * means[0]
    assert fits_the_width(page)
    refused = page.request.post(f"{demo}/enhance?strength=9", data=photo.read_bytes())
    assert refused.status == 400 and "strength: 9 lies outside 0 to 1.5" in refused.json()["error"]


def test_a_photo_can_be_dropped_anywhere(page, demo: str, photo: Path):
    page.goto(demo)
    numbers = list(photo.read_bytes())
    page.evaluate(
        "numbers => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(numbers)], 'dropped.jpg'));"
        "window.dispatchEvent(new DragEvent('drop', {dataTransfer: data})); }",
        numbers,
    )
    page.locator("#result").wait_for()
    assert page.get_by_role("status").first.inner_text() == "dropped.jpg is enhanced."


def test_broken_and_oversized_photos_get_a_sentence(chromium, demo: str, photo: Path, tmp_path: Path):
    tab = chromium.new_page()
    tab.goto(demo)
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:700])
    Image.new("RGB", (700, 300)).save(tmp_path / "wide.png")
    (tmp_path / "huge.bmp").write_bytes(bytes(1_000_001))
    (tmp_path / "notes.txt").write_text("no photo")
    for name, sentence in {
        "cut.jpg": "damaged or truncated",
        "wide.png": "700 x 300 pixels are over the limit of 200000",
        "huge.bmp": "is over the limit of 1 MB",
        "notes.txt": "not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or raw image",
    }.items():
        tab.get_by_label("Choose a photo").set_input_files(tmp_path / name)
        status = tab.locator("#status.error", has_text=f"{name}: ")
        status.wait_for()
        assert sentence in status.inner_text()
    assert not tab.locator("#result").is_visible()
    tab.close()


def asked(demo: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(demo.removeprefix("http://"), timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_requests_in_another_hosts_name_get_nothing(demo: str):
    assert asked(demo, "GET", "/")[0] == 200
    assert asked(demo, "GET", "/", Host=demo.removeprefix("http://").replace(HOST, "localhost"))[0] == 200
    status, text = asked(demo, "GET", "/", Host="rebound.example:80")
    assert status == 400 and "Brighten" not in text


def test_other_sites_cannot_send_photos(demo: str, photo: Path):
    status, text = asked(demo, "POST", "/enhance", photo.read_bytes(), Origin="http://elsewhere.example")
    assert status == 403 and "elsewhere.example" in text
    assert asked(demo, "POST", "/enhance", photo.read_bytes(), Origin=demo)[0] == 200


def test_too_long_an_upload_is_refused_whatever_it_says_of_its_length(demo: str):
    status, text = asked(demo, "POST", "/enhance", bytes(1_000_001))
    assert status == 413 and "over the limit of 1 MB" in text
    connection = http.client.HTTPConnection(demo.removeprefix("http://"), timeout=60)
    connection.request("POST", "/enhance", iter([bytes(300_000)] * 4), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413


# --- the page that asks people ----------------------------------------------------------------------------------------

PEOPLE = ("baseline:auto-gain", "secret=baseline:auto-exposure")


@pytest.fixture
def booth(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The page on three photos by two models, in a thread; its address and its votes."""
    random, votes = np.random.default_rng(0), tmp_path / "votes.jsonl"
    for index in range(3):
        pixels = random.integers(0, 50, (30 + 10 * index, 48, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"night{index}.png")
    settings = VotingSettings(models=PEOPLE, photos=str(tmp_path / "photos"), votes=str(votes))
    app, listener = voting_app(Booth(settings, find_models(PEOPLE, ""), votes)), listening(0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://{HOST}:{listener.getsockname()[1]}", votes
    server.should_exit = True
    thread.join(30)


def begin(tab, address: str, name: str, done: int) -> None:
    tab.goto(address)
    tab.get_by_role("textbox").fill(name)
    tab.get_by_role("button", name="Begin").click()
    is_asked(tab, done)


def is_asked(tab, done: int) -> None:
    """Wait until so many are done and the next two pictures are there."""
    tab.locator("#progress", has_text=f"{done} of 3 done").wait_for()
    tab.locator(".pair:not(.waiting)").wait_for()


def test_a_person_votes_blindly_by_keys_goes_back_and_goes_on_later(page, booth: tuple[str, Path]):
    address, votes = booth
    urls = list[str]()
    page.on("request", lambda each: urls.append(each.url))
    begin(page, address, "ann", 0)
    assert fits_the_width(page)
    shown = page.locator("[data-side]").evaluate_all("all => all.map(each => [each.naturalWidth, each.src])")
    assert [width for width, _ in shown] == [48, 48] and shown[0][1] != shown[1][1]
    page.keyboard.press("ArrowLeft")
    is_asked(page, 1)
    page.keyboard.press("ArrowRight")
    is_asked(page, 2)
    assert [each.choice for each in read_votes(votes)] == ["left", "right"]
    page.keyboard.press("Backspace")
    page.locator("[data-side=left][src*='trial=1']").wait_for()
    is_asked(page, 2)
    page.keyboard.press("ArrowDown")
    page.locator("[data-side=left][src*='trial=2']").wait_for()
    is_asked(page, 2)
    assert [each.choice for each in read_votes(votes)] == ["left", "same"]

    begin(page, address, "ann", 2)  # who comes back
    page.get_by_role("button", name="B", exact=True).click()
    page.get_by_role("heading", name="That is all. Thank you!").wait_for()
    found = read_votes(votes)
    assert [each.voter for each in found] == ["ann"] * 3 and len({each.photo for each in found}) == 3
    assert {name for each in found for name in (each.left, each.right)} == {"auto-gain", "secret"}
    _, told = asked(address, "GET", "/trial?voter=dan")
    seen = f"{page.content()} {urls} {told}"
    assert '"done":0' in told and any("side=right" in each for each in urls)
    assert not [name for name in ("auto-gain", "auto-exposure", "secret", "night0", "baseline") if name in seen]


def test_the_photo_as_taken_and_a_nearer_look_are_shown_on_both_sides(page, booth: tuple[str, Path]):
    begin(page, booth[0], "bo", 0)
    page.keyboard.press("o")
    page.locator(".original[src*='side=input']").nth(1).wait_for()
    assert page.locator(".original:visible").count() == 2
    page.keyboard.press("o")
    assert page.locator(".original:visible").count() == 0
    page.locator(".side").first.click(position={"x": 5, "y": 5})
    matrices = page.locator("[data-side]").evaluate_all("all => all.map(each => getComputedStyle(each).transform)")
    assert matrices == ["matrix(3, 0, 0, 3, 0, 0)"] * 2
    assert page.get_by_role("button", name="Nearer").get_attribute("aria-pressed") == "true"
    page.keyboard.press("z")
    assert page.locator(".pair.zoomed").count() == 0


def test_votes_are_taken_only_from_the_page_itself(booth: tuple[str, Path]):
    address, votes = booth
    vote = "/vote?voter=eve&trial=0&choice=left&seconds=1"
    status, text = asked(address, "POST", vote, Origin="http://elsewhere.example")
    assert status == 403 and not read_votes(votes)
    assert asked(address, "GET", vote)[0] == 405
    assert asked(address, "GET", "/trial?voter=eve", Host="rebound.example:80")[0] == 400
    status, text = asked(address, "POST", "/vote?voter=eve&trial=0&choice=both&seconds=nan")
    assert status == 400 and "no such choice" in text
    assert asked(address, "POST", vote, Origin=address)[0] == 200 and len(read_votes(votes)) == 1


def test_a_comparison_shows_all_pictures_below_the_slider_and_either_on_both_sides(page, tmp_path: Path):
    views = {name: view(np.full((60, 90, 3), 20 + 50 * index, np.uint8)) for index, name in enumerate("abcd")}
    case = Case("night.jpg", views, note="b", captions={"a": "1 dB", "b": "2 dB", "c": "", "d": ""}, best=["b"])
    file = tmp_path / "report.html"
    dots = [(f"{index}.jpg", 10.0, 10.0 + index) for index in range(5)]
    table = Table("Means", ["", "PSNR"], [["a", "1.00"], ["b", "2.00"]], marked=[(1, 1)])
    file.write_bytes(
        render(
            HtmlReport(
                "comparison",
                "b",
                tables=[table],
                scatters=[Scatter("b over a", "psnr", "a", "b", dots, True)],
                galleries=[Gallery("Photos", [case], 9, "those first on which b loses most")],
            )
        )
    )
    page.goto(file.as_uri())
    sheet = page.locator(".sheet img").evaluate_all("all => all.map(each => each.naturalWidth)")
    assert sheet == [90] * 4 and fits_the_width(page)
    assert page.locator("td strong").all_inner_texts() == ["2.00"]
    assert page.locator("svg circle.each").count() == 5
    assert "1 of 9 photos, those first on which b loses most." in page.locator("section .soft").first.inner_text()
    page.locator(".sheet [data-left=b]").click()
    page.get_by_label("Picture on the right").select_option("d")
    tags = [page.locator(name).inner_text() for name in (".on-left", ".on-right")]
    assert tags == ["b", "d"]
    left, right = page.locator(".layer.left img:visible"), page.locator(".layer.right img")
    assert [left.get_attribute("alt"), right.get_attribute("alt")] == ["night.jpg: b", "night.jpg: d"]
    assert left.get_attribute("src") != right.get_attribute("src")
