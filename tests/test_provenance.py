"""Laws of provenance: the same facts, the same words, on every machine."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import hmx
from hmx.provenance import code_version, fingerprint, provenance

FACTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=5,
)


def test_the_version_is_that_of_the_installed_package(monkeypatch):
    assert code_version() == version("hmx") == hmx.__version__

    def lost(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("hmx.provenance.version", lost)
    assert code_version() == "unknown"


def test_provenance_is_json_with_the_version_and_sorted_keys():
    text = provenance(seed=0, bundle="ab", tile=[256, 256])
    assert json.loads(text) == {
        "hmx": code_version(),
        "seed": 0,
        "bundle": "ab",
        "tile": [256, 256],
    }
    assert text == provenance(tile=[256, 256], bundle="ab", seed=0)
    assert list(json.loads(text)) == ["bundle", "hmx", "seed", "tile"]


@given(FACTS)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(facts):
    turned = dict(reversed(facts.items()))
    assert fingerprint(facts) == fingerprint(turned)
    assert int(fingerprint(facts), 16) >= 0
    assert len(fingerprint(facts)) == 16


@given(FACTS, FACTS)
def test_other_facts_have_another_fingerprint(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_what_json_does_not_know_is_hashed_as_text():
    assert fingerprint({"path": Path("/a")}) == fingerprint({"path": "/a"})


def test_a_fingerprint_is_the_same_in_every_process():
    code = (
        "from hmx.provenance import fingerprint;print(fingerprint({'b': [1, 2.5, None], 'a': 'x'}))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == fingerprint({"a": "x", "b": [1, 2.5, None]})
