import functools
import io
import itertools
import json
import threading
import time
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from PIL import Image
from serving import Answers

from helpers.common import downloads
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.footage import search, web

BY = "https://creativecommons.org/licenses/by/2.0/"
CC0 = "http://creativecommons.org/publicdomain/zero/1.0/deed.en"


def look(seed, size=(320, 256)):
    """A picture unlike that of any other seed, also after scaling."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class Host(Answers):
    """Plays both services and the hosts of their pictures, the good and the bad."""

    def do_GET(self):
        address, state = urlparse(self.path), self.server.state
        query = {key: value[0] for key, value in parse_qs(address.query).items()}
        state.agents.add(self.headers["User-Agent"])
        state.asked.append((address.path, query))
        if refusals := state.refuse.get(address.path):
            status, headers = refusals.pop(0)
            return self.answer(b"wait", status, headers)
        if address.path == "/openverse":
            return self.say(state.openverse(query))
        if address.path == "/commons":
            return self.say(state.commons(query))
        if address.path == "/chunked.jpg":
            return self.answer_in_chunks(state.files[address.path])
        if address.path == "/trickle.jpg":
            return self.trickle()
        body = state.files.get(address.path)
        kind = "text/html" if address.path == "/wrong_type.jpg" else "image/jpeg"
        return self.answer(body or b"gone", 200 if body else 404, {"Content-Type": kind})

    def say(self, answer):
        self.answer(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def trickle(self):
        self.send_response(200)
        self.end_headers()
        for byte in encoded(look(99)):
            self.wfile.write(bytes([byte]))
            time.sleep(0.02)

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client had enough


@pytest.fixture
def host(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    address = f"http://127.0.0.1:{server.server_port}"
    server.state = state = SimpleNamespace(
        address=address, files={}, refuse={}, agents=set(), asked=[], openverse=None, commons=None
    )
    for name in ("openverse", "commons"):
        monkeypatch.setitem(search.API, name, f"{address}/{name}")

    def add(path, data=None, licence="by", **more):
        """An Openverse result; with `data`, the file too."""
        if data is not None:
            state.files[path] = data
        return {
            "url": address + path,
            "license": licence,
            "license_version": "2.0",
            "license_url": BY,
            "creator": "Somebody",
            "foreign_landing_url": f"https://photos.example{path}",
            **more,
        }

    def paged(*pages):
        """Let Openverse answer with these pages of results."""

        def answer(query):
            number = int(query["page"])
            page = pages[number - 1] if pages else []
            return {"page_count": len(pages), "result_count": 240, "results": page}

        state.openverse = answer

    def say_commons(*pages, **first):
        """Let Commons answer with these pages of (path, facts) and go on as MediaWiki does."""

        def answer(query):
            number = int(query.get("gsroffset", 0)) // 2
            found = []
            for index, (path, facts) in enumerate(pages[number] if pages else []):
                info = {
                    "url": f"{address}/original{path}",
                    "thumburl": address + path,
                    "thumbwidth": 1920,
                    "thumbheight": 1280,
                    "descriptionurl": f"https://commons.example/File:{path[1:]}",
                    "extmetadata": {key: {"value": value} for key, value in facts.items()} or [],
                }
                found.append({"pageid": index, "index": index + 1, "imageinfo": [info]})
            body = {"batchcomplete": True}
            if found:
                body["query"] = {"pages": found[::-1]}  # MediaWiki sorts by page, not by rank
            if number + 1 < len(pages):
                body["continue"] = {"gsroffset": 2 * number + 2, "continue": "gsroffset||"}
            return {**body, **first}

        state.commons = answer

    state.add, state.paged, state.say_commons = add, paged, say_commons
    paged()
    say_commons()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def naps(monkeypatch):
    """The pauses that were made, without making them."""
    made = []
    monkeypatch.setattr(downloads.time, "sleep", made.append)
    return made


def collect(tmp_path, limit=20, words="Speed camera!", **options):
    options.setdefault("services", ("openverse",))
    out = web.collect_pictures(words, tmp_path / "01_web", limit, **options)
    return out, read_csv(out / "sources.csv", web.SOURCES)


def left_out(out):
    return read_manifest(out)["counts"]["left_out"]


def test_pictures_are_numbered_and_their_sources_noted(host, tmp_path, capsys):
    first = host.add("/a.jpg", encoded(look(1)))
    second = host.add("/b.png", encoded(look(2), "PNG"), "cc0", creator=None, license_url=CC0)
    third = host.add("/c.webp", encoded(look(3), "WEBP"))
    host.paged([first, second], [third])
    out, rows = collect(tmp_path)
    names = ["speed_camera_0001.jpg", "speed_camera_0002.png", "speed_camera_0003.webp"]
    assert sorted(p.name for p in (out / "images").iterdir()) == names
    assert (out / "images" / names[0]).read_bytes() == host.files["/a.jpg"]
    assert rows[0] == {
        "file": names[0],
        "licence": "by 2.0",
        "licence_url": BY,
        "creator": "Somebody",
        "origin": "https://photos.example/a.jpg",
        "words": "Speed camera!",
    }
    assert (rows[1]["licence"], rows[1]["creator"]) == ("cc0 2.0", "")
    asked = [query for path, query in host.asked if path == "/openverse"]
    assert [query["page"] for query in asked] == ["1", "2"]
    assert asked[0]["q"] == "Speed camera!"
    assert asked[0]["license"] == "cc0,pdm,by,by-sa"
    assert "excluded_source" not in asked[0]
    assert [agent.split("/")[0] for agent in host.agents] == ["detector-course"]
    assert "3 pictures kept." in capsys.readouterr().out


@functools.cache
def lies():
    """What hosts send instead of a picture, by what becomes of it."""
    good = encoded(look(10))
    gif = encoded(look(11), "GIF", save_all=True, append_images=[look(12)])
    webp = encoded(look(13), "WEBP", save_all=True, append_images=[look(14)])
    return {
        "html.jpg": (b"<html><body>not found</body></html>", "no pictures"),
        "cut.jpg": (good[: len(good) // 2], "no pictures"),
        "empty.jpg": (b"\0", "no pictures"),
        "moving.jpg": (gif, "no pictures"),
        "moving.webp": (webp, "no pictures"),
        "drawing.jpg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "no pictures"),
        "tiny.jpg": (encoded(look(15, (640, 200))), "too small"),
        "heavy.jpg": (good + bytes(21_000_000), "too large"),
        "vast.png": (encoded(Image.new("1", (8000, 7000)), "PNG"), "too large"),
        "bomb.png": (encoded(Image.new("1", (20000, 20000)), "PNG"), "no pictures"),
        "gone.jpg": (None, "unreachable"),
    }


@pytest.mark.parametrize("name", lies())
def test_what_is_no_good_picture_is_left_out(host, tmp_path, name):
    data, reason = lies()[name]
    host.paged([host.add(f"/{name}", data), host.add("/good.jpg", encoded(look(20)))])
    out, rows = collect(tmp_path)
    assert [row["origin"] for row in rows] == ["https://photos.example/good.jpg"]
    assert left_out(out) == {reason: 1}


def test_names_and_types_do_not_decide(host, tmp_path):
    host.paged(
        [
            host.add("/wrong_type.jpg", encoded(look(1))),
            host.add("/chunked.jpg", encoded(look(4))),
            host.add("/really_a_png.jpg", encoded(look(2), "PNG")),
            host.add("/no_suffix", encoded(look(3).convert("CMYK"))),
        ]
    )
    out, _ = collect(tmp_path)
    suffixes = [p.suffix for p in sorted((out / "images").iterdir())]
    assert suffixes == [".jpg", ".jpg", ".png", ".jpg"]


def test_sizes_that_the_service_states_save_the_download(host, tmp_path):
    small = host.add("/small.jpg", encoded(look(1)), width=100, height=2000)
    host.paged([small, host.add("/good.jpg", encoded(look(2)), width=320, height=256)])
    out, _ = collect(tmp_path)
    assert left_out(out) == {"too small": 1}
    assert "/small.jpg" not in [path for path, _ in host.asked]


def test_copies_and_near_copies_are_left_out(host, tmp_path):
    original = look(1, (640, 512))
    smaller = encoded(original.resize((480, 384)), quality=40)
    again = host.add("/a.jpg", encoded(original))
    same_bytes = host.add("/b.jpg", encoded(original))
    near = host.add("/c.jpg", smaller)
    brighter = host.add("/d.png", encoded(original.point(lambda v: min(v + 12, 255)), "PNG"))
    other = host.add("/e.jpg", encoded(look(2)))
    host.paged([again, again, same_bytes], [near, brighter, other])
    out, rows = collect(tmp_path)
    assert [row["origin"][-5:] for row in rows] == ["a.jpg", "e.jpg"]
    assert left_out(out) == {"copies": 4}
    assert [path for path, _ in host.asked].count("/a.jpg") == 1


def test_only_the_licences_asked_for(host, tmp_path):
    page = [
        host.add("/a.jpg", encoded(look(1)), "by-nc"),
        host.add("/b.jpg", encoded(look(2)), "by"),
        host.add("/c.jpg", encoded(look(3)), "sampling+"),
        host.add("/d.jpg", encoded(look(4)), None),
    ]
    host.paged(page)
    out, rows = collect(tmp_path)
    assert [row["licence"] for row in rows] == ["by 2.0"]
    assert left_out(out) == {"without such a licence": 3}
    _, rows = collect(tmp_path, licences=("by-nc",))
    assert [row["licence"] for row in rows] == ["by-nc 2.0"]


def test_commons_facts_become_the_same_columns(host, tmp_path):
    for i in range(4):
        host.files[f"/{i}.jpg"] = encoded(look(i))
    artist = '<a href="//x.example/u" title="User:A">Ana &amp; <b>Bo</b></a>\n'
    sharealike = {
        "LicenseShortName": "CC BY-SA 3.0 de",
        "LicenseUrl": "https://creativecommons.org/licenses/by-sa/3.0/de/deed.en",
        "Artist": artist,
    }
    host.say_commons(
        [("/0.jpg", sharealike), ("/1.jpg", {"LicenseShortName": "GFDL"})],
        [("/2.jpg", {}), ("/3.jpg", {"LicenseShortName": "Public domain"})],
    )
    out, rows = collect(tmp_path, services=("commons",))
    assert rows[0] == {
        "file": "speed_camera_0001.jpg",
        "licence": "by-sa 3.0",
        "licence_url": sharealike["LicenseUrl"],
        "creator": "Ana & Bo",
        "origin": "https://commons.example/File:0.jpg",
        "words": "Speed camera!",
    }
    assert [row["licence"] for row in rows] == ["by-sa 3.0", "pdm"]
    assert left_out(out) == {"without such a licence": 2}
    asked = [query for path, query in host.asked if path == "/commons"]
    assert asked[0]["gsrsearch"] == "Speed camera! filetype:bitmap"
    assert "gsroffset" not in asked[0]
    assert (asked[1]["gsroffset"], asked[1]["continue"]) == ("2", "gsroffset||")


def test_both_services_take_turns(host, tmp_path):
    names = [f"/{service}{i}.jpg" for service in "oc" for i in range(3)]
    for seed, name in enumerate(names):
        host.files[name] = encoded(look(seed))
    host.paged([host.add(f"/o{i}.jpg") for i in range(3)])
    host.say_commons([(f"/c{i}.jpg", {"LicenseShortName": "CC0"}) for i in range(3)])
    _, rows = collect(tmp_path, 4, services=("openverse", "commons"))
    assert [row["origin"][-6:] for row in rows] == ["o0.jpg", "c0.jpg", "o1.jpg", "c1.jpg"]
    query = next(query for path, query in host.asked if path == "/openverse")
    assert query["excluded_source"] == "wikimedia"


def test_the_limit_ends_the_search(host, tmp_path):
    pages = [[host.add(f"/{p}{i}.jpg", encoded(look(2 * p + i))) for i in range(2)] for p in (0, 1)]
    host.paged(*pages)
    _, rows = collect(tmp_path, 2)
    assert len(rows) == 2
    assert [path for path, _ in host.asked].count("/openverse") == 1


def test_a_search_without_end_is_ended(host, tmp_path):
    endless = itertools.count()
    host.openverse = lambda query: {
        "page_count": 10**6,
        "results": [host.add(f"/{next(endless)}.jpg", None, "by-nc")],
    }
    with pytest.raises(CourseError, match=r"no usable picture \(20 without such a licence\)"):
        collect(tmp_path)


def test_pauses_that_services_ask_for_are_made(host, tmp_path, naps):
    host.paged([host.add("/a.jpg", encoded(look(1)))])
    soon = formatdate(time.time() + 40, usegmt=True)
    host.refuse["/openverse"] = [
        (429, {"Retry-After": "7"}),
        (503, {"Retry-After": soon}),
        (500, {}),
    ]
    host.refuse["/a.jpg"] = [(429, {"Retry-After": "5"})]
    _, rows = collect(tmp_path)
    assert len(rows) == 1
    assert naps[0] == 7
    assert 30 < naps[1] <= 40
    assert naps[2:] == [8, 5]


def test_a_host_that_goes_on_refusing_is_left_alone(host, tmp_path, naps):
    refused = [host.add(f"/r{i}.jpg", encoded(look(i))) for i in range(3)]
    other = host.address.replace("127.0.0.1", "localhost")
    host.files["/good.jpg"] = encoded(look(9))
    host.paged([*refused, {**host.add("/good.jpg"), "url": f"{other}/good.jpg"}])
    host.refuse["/r0.jpg"] = [(429, {"Retry-After": "3600"})]
    out, rows = collect(tmp_path)
    assert len(rows) == 1
    assert naps == []
    assert left_out(out) == {"unreachable": 1, "at hosts that refuse": 2}


def test_a_picture_that_trickles_in_is_given_up(host, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_MAX_SECONDS", 0.3)
    host.paged([host.add("/trickle.jpg"), host.add("/good.jpg", encoded(look(1)))])
    started = time.monotonic()
    out, _ = collect(tmp_path)
    assert time.monotonic() - started < 5
    assert left_out(out) == {"too slow": 1}


def test_a_pause_that_a_host_asks_for_is_not_slowness(host, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_MAX_SECONDS", 0.5)
    host.paged([host.add("/a.jpg", encoded(look(1)))])
    host.refuse["/a.jpg"] = [(429, {"Retry-After": "1"})]
    _, rows = collect(tmp_path)
    assert len(rows) == 1


def test_an_answer_that_is_cut_off_is_asked_for_again(host, tmp_path, naps):
    host.paged([host.add("/a.jpg", encoded(look(1)))])
    host.refuse["/openverse"] = [(200, {"Transfer-Encoding": "chunked"})]
    _, rows = collect(tmp_path)
    assert len(rows) == 1
    assert naps == [2]


@pytest.mark.parametrize(
    "asked",
    [
        "Tue, 01 Jan 2030 00:00:00 +9999999999999",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "soon",
        "",
        "-3",
    ],
)
def test_what_means_no_time_is_no_pause(host, tmp_path, naps, asked):
    host.paged([host.add("/a.jpg", encoded(look(1)))])
    host.refuse["/openverse"] = [(503, {"Retry-After": asked})]
    _, rows = collect(tmp_path)
    assert len(rows) == 1
    assert naps == [2]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            b"<html>log in to the hotel's network</html>",
            "is not JSON; check whether a login page",
        ),
        ({"results": []}, "not in the form of its API"),
        ({"page_count": 1, "results": ["text"]}, "not in the form of its API"),
        ([], "not in the form of its API"),
    ],
)
def test_an_answer_that_is_not_openverse(host, tmp_path, answer, message):
    host.openverse = lambda query: answer
    with pytest.raises(CourseError, match=message):
        collect(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_not_commons(host, tmp_path):
    host.say_commons(error={"code": "maxlag", "info": "Waiting for a server"})
    with pytest.raises(CourseError, match=r"commons: it says .*Waiting for a server"):
        collect(tmp_path, services=("commons",))
    host.say_commons(query={"pages": [{"imageinfo": ["text"]}]})
    with pytest.raises(CourseError, match="commons: the answer is not in the form"):
        collect(tmp_path, services=("commons",))


def test_one_service_that_fails_does_not_stop_the_other(host, tmp_path, naps, capsys):
    host.paged([host.add("/a.jpg", encoded(look(1)))], [host.add("/b.jpg", encoded(look(2)))])
    host.refuse["/commons"] = [(429, {"Retry-After": "86400"})]
    _, rows = collect(tmp_path, services=("openverse", "commons"))
    assert len(rows) == 2
    assert naps == []
    said = capsys.readouterr().out
    assert "Stopped early: commons: no answer (status 429, asks to wait 86400 s)." in said


def test_what_was_found_before_a_failure_is_kept(host, tmp_path, naps):
    pages = [[host.add("/a.jpg", encoded(look(1)))], b"<html>maintenance</html>"]
    host.openverse = lambda query: (
        {"page_count": 2, "results": pages[0]} if query["page"] == "1" else pages[1]
    )
    _, rows = collect(tmp_path)
    assert len(rows) == 1


def test_a_search_that_fails_leaves_nothing(host, tmp_path, naps):
    host.refuse["/openverse"] = [(429, {})] * 4
    with pytest.raises(CourseError, match=r"openverse: no answer \(status 429\); try again later"):
        collect(tmp_path)
    assert naps == [2, 4, 8]
    host.refuse["/openverse"] = [(404, {})]
    with pytest.raises(CourseError, match="status 404"):
        collect(tmp_path)
    with pytest.raises(CourseError, match="words: 'Speed camera!': no usable picture; try other"):
        collect(tmp_path)
    for wrong, message in (
        ({"words": " "}, "words: empty"),
        ({"limit": 0}, "limit: 0"),
        ({"services": ("google",)}, "services: 'google'; give a list of openverse, commons"),
        ({"services": "commons"}, "services: 'commons'; give a list"),
        ({"services": ()}, "services: empty"),
        ({"licences": ("mit",)}, "licences: 'mit'; give a list of cc0, pdm"),
    ):
        with pytest.raises(CourseError, match=message) as error:
            collect(tmp_path, **wrong)
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_words_in_any_script_and_of_any_length_name_files(host, tmp_path):
    host.paged([host.add("/a.jpg", encoded(look(1)))])
    _, rows = collect(tmp_path, words="Скорость 速度 / ../x")
    assert rows[0]["file"] == "скорость_速度_x_0001.jpg"
    _, rows = collect(tmp_path, words="radar " * 60)
    assert len(rows[0]["file"]) < 80
    _, rows = collect(tmp_path, words="?!")
    assert rows[0]["file"] == "picture_0001.jpg"
