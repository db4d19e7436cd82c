"""What the search services say of a licence."""

import pytest

from helpers.footage import search

CC0 = "http://creativecommons.org/publicdomain/zero/1.0/deed.en"


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0", ("by-sa", "4.0")),
        ("CC BY 2.5", "", ("by", "2.5")),
        ("CC-BY-SA-3.0", "", ("by-sa", "3.0")),
        ("CC BY-SA 4.0-3.0-2.5", "", ("by-sa", "4.0")),
        ("CC0", CC0, ("cc0", "1.0")),
        ("CC0 1.0", "", ("cc0", "1.0")),
        ("Public domain", "", ("pdm", "")),
        ("", "https://creativecommons.org/publicdomain/mark/1.0/", ("pdm", "1.0")),
        ("CC BY-NC-SA 2.0", "", ("by-nc-sa", "2.0")),
        ("GFDL", "https://www.gnu.org/copyleft/fdl.html", None),
        ("Attribution", "", None),
        ("No restrictions", "", None),
        ("CC BYOB", "", None),
        ("CC BY 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", None),
        ("", "https://creativecommons.org/licenses/sampling/1.0/", None),
        ("", "", None),
    ],
)
def test_licences_as_commons_writes_them(name, url, expected):
    assert search.licence_of(name, url) == expected
