import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from PIL import Image

from helpers import collect, frames, split, video
from helpers.errors import CourseError


def picture(seed=0, kind="JPEG"):
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for i in range(3):
        (folder / f"bild {i}.jpg").write_bytes(picture(i))
    return folder


def test_a_folder_of_pictures_with_xml_beside_and_below(own, tmp_path):
    (own / "bild 0.xml").write_text("<annotation/>")
    (own / "annotations").mkdir()
    (own / "annotations/bild 1.xml").write_text("<annotation/>")
    (own / "groups.csv").write_text("image,clip\nbild 0.jpg,street\n")
    (own / "notes.txt").write_text("not a picture")
    out = collect.own_folder(own, tmp_path / "01_images")
    assert sorted(p.name for p in (out / "images").iterdir()) == [f"bild {i}.jpg" for i in range(3)]
    assert sorted(p.name for p in (out / "annotations").iterdir()) == ["bild 0.xml", "bild 1.xml"]
    rows = split.read_csv(out / "sources.csv", ("file", "licence", "origin"))
    assert rows[0] == {"file": "bild 0.jpg", "licence": "your own", "origin": "my pictures"}
    assert (out / "groups.csv").is_file()


def test_added_pictures_are_seen_by_the_next_run(own, tmp_path, capsys):
    collect.own_folder(own, tmp_path / "01_images")
    collect.own_folder(own, tmp_path / "01_images")
    assert "kept" in capsys.readouterr().out
    (own / "new.jpg").write_bytes(picture(9))
    out = collect.own_folder(own, tmp_path / "01_images")
    assert (out / "images/new.jpg").is_file()


def test_pictures_in_a_folder_images(own, tmp_path):
    inner = tmp_path / "voc"
    inner.mkdir()
    own.rename(inner / "images")
    (inner / "Annotations").mkdir()
    (inner / "Annotations/bild 0.xml").write_text("<annotation/>")
    out = collect.own_folder(inner, tmp_path / "01_images")
    assert len(list((out / "images").iterdir())) == 3
    assert (out / "annotations/bild 0.xml").is_file()


@pytest.mark.parametrize("whole_folder", [True, False])
def test_videos(tmp_path, whole_folder):
    footage = tmp_path / "footage"
    footage.mkdir()
    with video.writer(footage / "drive.MP4", 25, (32, 24)) as write:
        write(np.zeros((24, 32, 3), np.uint8))
    (footage / "drive.boxes.csv").write_text("frame,label,xmin,ymin,xmax,ymax\n0,a,1,1,9,9\n")
    path = footage if whole_folder else footage / "drive.MP4"
    out = collect.own_folder(path, tmp_path / "01_images")
    assert sorted(p.name for p in (out / "clips").iterdir()) == ["drive.MP4", "drive.boxes.csv"]
    extracted = frames.extract(out, tmp_path / "02_frames")
    assert (extracted / "annotations/drive_00000.xml").is_file()


def test_what_cannot_be_taken_is_named(own, tmp_path):
    out = tmp_path / "01_images"
    with pytest.raises(CourseError, match="nowhere: no such folder or file"):
        collect.own_folder(tmp_path / "nowhere", out)
    with pytest.raises(CourseError, match=r"bild 0.jpg: not a video"):
        collect.own_folder(own / "bild 0.jpg", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CourseError, match="empty: no images in it"):
        collect.own_folder(tmp_path / "empty", out)
    (own / "drive.mp4").touch()
    with pytest.raises(CourseError, match="1 videos and 3 images"):
        collect.own_folder(own, out)
    (own / "drive.mp4").unlink()
    (own / "annotations").mkdir()
    for place in (own, own / "annotations"):
        (place / "bild 0.xml").write_text("<annotation/>")
    with pytest.raises(CourseError, match=r"another bild 0.xml"):
        collect.own_folder(own, out)
    assert not out.exists()


class Web(BaseHTTPRequestHandler):
    """Plays Openverse and the hosts of its pictures, the good and the bad."""

    def do_GET(self):
        address = urlparse(self.path)
        web = self.server.state
        web["agents"].add(self.headers["User-Agent"])
        if address.path == "/v1/images/":
            query = {key: value[0] for key, value in parse_qs(address.query).items()}
            web["queries"].append(query)
            if query["page"] == web.get("broken page"):
                return self.answer(b"", 500)
            if web["refuse"]:
                status = web["refuse"].pop()
                return self.answer(b"", status, {"Retry-After": "0"})
            page = web["pages"][int(query["page"]) - 1] if web["pages"] else []
            body = {"page_count": len(web["pages"]), "results": page}
            return self.answer(json.dumps(body).encode())
        body = web["files"].get(address.path)
        return self.answer(body or b"gone", 200 if body else 404)

    def answer(self, body, status=200, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    address = f"http://127.0.0.1:{server.server_port}"
    files = {
        "/1.jpg": picture(1),
        "/2.png": picture(2, "PNG"),
        "/again.jpg": picture(1),
        "/lie.jpg": b"<html>not found</html>",
        "/cut.jpg": picture(3)[:400],
        "/moving.gif": picture(4, "GIF"),
        "/huge.jpg": picture(5) + bytes(30_000_000),
        "/3.jpg": picture(6),
    }

    def result(path, licence="by", **more):
        return {
            "url": address + path,
            "license": licence,
            "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by/2.0/",
            "creator": "Somebody",
            "foreign_landing_url": f"https://photos.example{path}",
            **more,
        }

    first = [result(p) for p in ("/1.jpg", "/again.jpg", "/lie.jpg", "/cut.jpg", "/moving.gif")]
    second = [
        result("/gone.jpg"),
        result("/huge.jpg"),
        result("/3.jpg", "by-nc-nd"),
        result("/2.png", "cc0", creator=None),
        {"license": "by", "url": "file:///etc/hostname"},
        result("/3.jpg"),
    ]
    server.state = {
        "pages": [first, second], "files": files, "refuse": [], "queries": [], "agents": set()
    }  # fmt: skip
    server.state["api"] = f"{address}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.state
    server.shutdown()
    server.server_close()


def test_only_real_pictures_with_a_good_licence_are_kept(web, tmp_path):
    out = collect.search_openverse("Speed camera!", tmp_path / "01_images", 10, api=web["api"])
    names = ["speed_camera_0001.jpg", "speed_camera_0002.png", "speed_camera_0003.jpg"]
    assert sorted(p.name for p in (out / "images").iterdir()) == names
    rows = split.read_csv(out / "sources.csv", collect.SOURCES)
    assert rows[0] == {
        "file": names[0],
        "licence": "by 2.0",
        "licence_url": "https://creativecommons.org/licenses/by/2.0/",
        "creator": "Somebody",
        "origin": "https://photos.example/1.jpg",
        "words": "Speed camera!",
    }
    assert [row["licence"] for row in rows] == ["by 2.0", "cc0 2.0", "by 2.0"]
    assert web["queries"][0]["q"] == "Speed camera!"
    assert web["queries"][0]["license"] == "cc0,pdm,by,by-sa"
    assert [agent.split("/")[0] for agent in web["agents"]] == ["detector-course"]


def test_the_limit_ends_the_search(web, tmp_path):
    out = collect.search_openverse("radar", tmp_path / "01_images", 1, api=web["api"])
    assert len(list((out / "images").iterdir())) == 1
    assert len(web["queries"]) == 1


def test_it_waits_when_asked_to_and_tries_again(web, tmp_path):
    web["refuse"] = [503, 429]
    collect.search_openverse("radar", tmp_path / "01_images", 1, api=web["api"])
    assert len(web["queries"]) == 3


def test_a_search_that_fails_leaves_nothing(web, tmp_path):
    web["refuse"] = [429] * 5
    with pytest.raises(CourseError, match=r"no answer to page 1 \(status 429\)"):
        collect.search_openverse("radar", tmp_path / "a", 1, api=web["api"])
    web["refuse"] = [404]
    with pytest.raises(CourseError, match="status 404"):
        collect.search_openverse("radar", tmp_path / "a", 1, api=web["api"])
    web["pages"] = []
    with pytest.raises(CourseError, match="no usable picture"):
        collect.search_openverse("radar", tmp_path / "a", 1, api=web["api"])
    with pytest.raises(CourseError, match="words: empty"):
        collect.search_openverse(" ", tmp_path / "a", 1, api=web["api"])
    with pytest.raises(CourseError, match="limit: 0"):
        collect.search_openverse("radar", tmp_path / "a", 0, api=web["api"])
    assert list(tmp_path.iterdir()) == []


def test_what_was_found_before_a_failure_is_kept(web, tmp_path, monkeypatch):
    monkeypatch.setattr(collect.time, "sleep", lambda seconds: None)
    web["broken page"] = "2"
    out = collect.search_openverse("radar", tmp_path / "01_images", 5, api=web["api"])
    assert len(list((out / "images").iterdir())) == 1


def test_an_answer_that_is_not_openverse(web, tmp_path):
    api = web["api"].replace("/v1", "/none")
    web["files"]["/none/images/"] = b"<html>log in to the hotel's network</html>"
    with pytest.raises(CourseError, match="not what Openverse answers"):
        collect.search_openverse("radar", tmp_path / "a", 1, api=api)
