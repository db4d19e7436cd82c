"""A course of three tiny lessons that has run once."""

import shutil

import pytest
import samples

from helpers.course import runner


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A course that has run once with the defaults."""
    root = samples.course(tmp_path_factory.mktemp("finished"))
    return root, runner.run(root)


@pytest.fixture
def copied(finished, tmp_path):
    """The same, for a test that changes it."""
    shutil.copytree(finished[0], tmp_path / "course")
    return tmp_path / "course"
