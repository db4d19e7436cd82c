"""Artifact folders: whole or not at all, kept when current, rebuilt when an input changed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.common.artifacts import artifact, clear_leftovers, read_manifest, replace_folder
from helpers.common.errors import CourseError

ROOT = Path(__file__).parents[3]


@artifact("write_word")
def write_word(folder, *, word="pole"):
    """Write one word; count its letters."""
    (folder / "word.txt").write_text(word)
    return {"letters": len(word)}


@artifact("copy_words")
def copy_words(source, folder, *, suffix=""):
    """Write the words of `source` into one file."""
    words = [file.read_text() for file in sorted(source.glob("*.txt"))]
    (folder / "words.txt").write_text(" ".join(words) + suffix)


@artifact("fail_midway")
def fail_midway(folder):
    """Write half, then fail."""
    (folder / "half.txt").write_text("half")
    raise RuntimeError("no more")


def hidden(folder):
    return sorted(path.name for path in folder.glob(".*"))


def test_builds_the_folder_with_a_manifest(tmp_path):
    folder = write_word(tmp_path / "runs" / "01_words", word="camera")
    assert folder == tmp_path / "runs" / "01_words"
    assert (folder / "word.txt").read_text() == "camera"
    manifest = read_manifest(folder)
    assert manifest["made_by"].endswith("write_word")
    assert manifest["parameters"] == {"word": "camera"}
    assert manifest["counts"] == {"letters": 6}
    assert manifest["inputs"] == {}
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert len(manifest["fingerprint"]) == 16
    assert hidden(folder.parent) == []


def test_keeps_a_current_folder(tmp_path, capsys):
    folder = write_word(tmp_path / "01_words")
    (folder / "mark").touch()
    write_word(tmp_path / "01_words", word="pole")
    assert (folder / "mark").exists()
    assert "kept" in capsys.readouterr().out


def test_rebuild_builds_again(tmp_path):
    folder = write_word(tmp_path / "01_words")
    (folder / "mark").touch()
    write_word(tmp_path / "01_words", rebuild=True)
    assert not (folder / "mark").exists()


def test_a_changed_parameter_builds_again(tmp_path):
    write_word(tmp_path / "01_words", word="pole")
    folder = write_word(tmp_path / "01_words", word="sign")
    assert (folder / "word.txt").read_text() == "sign"
    assert hidden(tmp_path) == []


def test_a_changed_input_artifact_builds_again(tmp_path):
    source = write_word(tmp_path / "01_words", word="pole")
    copied = copy_words(source, tmp_path / "02_copied")
    assert read_manifest(copied)["inputs"] == {"source": read_manifest(source)["fingerprint"]}
    (copied / "mark").touch()
    copy_words(source, tmp_path / "02_copied")
    assert (copied / "mark").exists()
    write_word(tmp_path / "01_words", word="sign")
    copy_words(source, tmp_path / "02_copied")
    assert (copied / "words.txt").read_text() == "sign"


def test_a_file_added_to_a_folder_of_your_own_builds_again(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.txt").write_text("a")
    (own / "manifest.json").write_text('{"made": "by another tool"}')
    copied = copy_words(own, tmp_path / "02_copied")
    (copied / "mark").touch()
    copy_words(own, tmp_path / "02_copied")
    assert (copied / "mark").exists()
    (own / "b.txt").write_text("b")
    copy_words(own, tmp_path / "02_copied")
    assert (copied / "words.txt").read_text() == "a b"


def test_a_failure_leaves_the_old_folder_and_no_draft(tmp_path):
    folder = write_word(tmp_path / "01_words")
    with pytest.raises(RuntimeError, match="no more"):
        fail_midway(folder)
    assert (folder / "word.txt").read_text() == "pole"
    assert hidden(tmp_path) == []


def test_ctrl_c_leaves_no_draft(tmp_path):
    @artifact("interrupted")
    def interrupted(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "01_words")
    assert list(tmp_path.iterdir()) == []


SLOW_BUILD = """
import sys, time
from pathlib import Path
from helpers.common.artifacts import artifact

@artifact("slow")
def slow(folder):
    (folder / "word.txt").write_text("new, half writ")
    print("writing", flush=True)
    time.sleep(60)

slow(Path(sys.argv[1]))
"""


@pytest.fixture
def slow_build(tmp_path):
    """A process in the middle of building tmp_path/01_words over a finished folder."""
    write_word(tmp_path / "01_words", word="old")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, str(tmp_path / "01_words")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_kill_9_midway_leaves_the_old_folder_and_the_next_run_clears_up(tmp_path, slow_build):
    slow_build.send_signal(signal.SIGKILL)
    slow_build.wait()
    folder = tmp_path / "01_words"
    assert (folder / "word.txt").read_text() == "old"
    assert read_manifest(folder)["parameters"] == {"word": "old"}
    assert len(hidden(tmp_path)) == 1
    write_word(folder, word="new")
    assert (folder / "word.txt").read_text() == "new"
    assert hidden(tmp_path) == []


def test_a_draft_in_use_is_left_alone(tmp_path, slow_build):
    write_word(tmp_path / "01_words", word="other")
    (draft,) = tmp_path.glob(".01_words.draft-*")
    assert (draft / "word.txt").read_text() == "new, half writ"


def test_killed_between_the_two_renames_the_old_folder_comes_back(tmp_path, monkeypatch, capsys):
    folder = write_word(tmp_path / "01_words", word="old")
    draft = tmp_path / ".01_words.draft-1234"
    draft.mkdir()
    renamed = []

    def rename_once(self, target):
        if renamed:
            raise KeyboardInterrupt  # stands for the kill: nothing after it runs
        renamed.append(self)
        os.rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_once)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(draft, folder)
    assert not folder.exists()
    clear_leftovers(folder)
    assert (folder / "word.txt").read_text() == "old"
    assert hidden(tmp_path) == []
    write_word(folder, word="old")
    assert "kept" in capsys.readouterr().out


def test_folders_with_similar_names_are_left_alone(tmp_path):
    other = tmp_path / ".01_words_more.draft-1"
    other.mkdir()
    write_word(tmp_path / "01_words")
    assert other.exists()


def test_files_that_the_course_did_not_make_are_never_replaced(tmp_path):
    (tmp_path / "01_words").mkdir()
    (tmp_path / "01_words" / "holiday.jpg").touch()
    with pytest.raises(CourseError, match="01_words: holds files that the course did not make"):
        write_word(tmp_path / "01_words", rebuild=True)
    assert (tmp_path / "01_words" / "holiday.jpg").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "01_words").write_text("notes")
    with pytest.raises(CourseError, match="01_words: is a file"):
        write_word(tmp_path / "01_words")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\xff"])
def test_a_broken_manifest_is_named_and_the_folder_built_again(tmp_path, text):
    folder = write_word(tmp_path / "01_words")
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CourseError, match=r"manifest\.json: .*delete the folder"):
        read_manifest(folder)
    write_word(folder)
    assert read_manifest(folder)["counts"] == {"letters": 4}


def test_no_manifest_says_what_to_do(tmp_path):
    with pytest.raises(CourseError, match=r"manifest\.json: missing; run the lesson"):
        read_manifest(tmp_path)


def test_the_signature_and_docstring_survive():
    assert write_word.__doc__ == "Write one word; count its letters."
    with pytest.raises(TypeError):
        write_word()


def test_a_current_folder_is_found_quickly(tmp_path):
    source = write_word(tmp_path / "01_words")
    copy_words(source, tmp_path / "02_copied")
    start = time.perf_counter()
    copy_words(source, tmp_path / "02_copied")
    assert time.perf_counter() - start < 0.5


@artifact("write_in_two_goes", resumes=True)
def write_in_two_goes(folder: Path, *, word: str = "word", fail: bool = False) -> dict:
    """Write one letter a call until the word is whole."""
    found = sorted(path.name for path in folder.iterdir())
    (folder / str(len(found))).touch()
    if len(found) + 1 < len(word):
        raise OSError("power cut")
    return {"letters": len(word)}


def test_a_draft_that_resumes_stays_until_it_is_whole(tmp_path):
    folder = tmp_path / "01_words"
    for left in (1, 2):
        with pytest.raises(OSError, match="power cut"):
            write_in_two_goes(folder, word="abc")
        (draft,) = hidden(tmp_path)
        assert len(list((tmp_path / draft).iterdir())) == left
        assert not folder.exists()
    write_in_two_goes(folder, word="abc")
    assert hidden(tmp_path) == []
    assert len(list(folder.iterdir())) == 4


def test_building_again_starts_from_nothing(tmp_path):
    folder = tmp_path / "01_words"
    with pytest.raises(OSError, match="power cut"):
        write_in_two_goes(folder, word="ab")
    (draft,) = hidden(tmp_path)
    with pytest.raises(OSError, match="power cut"):
        write_in_two_goes(folder, word="ab", rebuild=True)
    assert hidden(tmp_path) == [draft]
    assert len(list((tmp_path / draft).iterdir())) == 1
    write_in_two_goes(folder, word="ab")
    with pytest.raises(OSError, match="power cut"):
        write_in_two_goes(folder, word="ab", rebuild=True)
    write_in_two_goes(folder, word="ab")
    assert hidden(tmp_path) == []  # nor is a draft left next to a folder that is current


def test_a_draft_of_other_parameters_is_no_start(tmp_path):
    folder = tmp_path / "01_words"
    with pytest.raises(OSError, match="power cut"):
        write_in_two_goes(folder, word="abc")
    write_in_two_goes(folder, word="a")
    assert hidden(tmp_path) == []
    assert len(list(folder.iterdir())) == 2


def test_two_processes_do_not_share_a_draft(tmp_path):
    @artifact("nested", resumes=True)
    def nested(folder: Path) -> dict:
        with pytest.raises(CourseError, match="01_words: another process is making it"):
            nested(tmp_path / "01_words")
        return {}

    nested(tmp_path / "01_words")
