"""Laws of the exception tree."""

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx import errors
from hmx.errors import HmxError, MissingVariable, did_you_mean, missing_variable

TREE = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HmxError)
}
DRAWN = re.findall(r"^ +(?:\|   )*(?:[|`]-- )?(\w+) +(?:\((\w+)\)|\.\.\.)", errors.__doc__, re.M)


def test_the_tree_in_the_docstring_has_every_error_and_its_builtin():
    assert {name for name, _ in DRAWN} == set(TREE)
    for name, builtin in DRAWN:
        if builtin and name != "HmxError":
            bases = [base.__name__ for base in TREE[name].__mro__]
            assert builtin in bases, f"{name} is not a {builtin}"


@pytest.mark.parametrize("kind", TREE.values(), ids=TREE)
def test_every_error_is_ours_and_a_builtin(kind):
    builtins = [base for base in kind.__mro__ if base.__module__ == "builtins"]
    if kind is not HmxError:
        assert builtins[0] not in (Exception, BaseException, object)
    with pytest.raises(builtins[0], match="what was given"):
        raise kind("what was given")


@pytest.mark.parametrize("kind", TREE.values(), ids=TREE)
def test_a_message_is_said_plainly(kind):
    assert str(kind("'a' is not in the cube.")) == "'a' is not in the cube."
    assert str(kind()) == ""


@pytest.mark.parametrize("kind", TREE.values(), ids=TREE)
def test_an_error_survives_the_way_back_from_a_worker(kind):
    back = pickle.loads(pickle.dumps(kind("text")))
    assert type(back) is kind
    assert str(back) == "text"


def test_only_work_that_failed_is_not_the_users_fault():
    failed = {"TrainingFailed", "JobFailed", "VerifyFailed", "OutputBusy", "OutputFailed"}
    failed |= {"DamagedStore"}
    assert {name for name, kind in TREE.items() if kind.exit_code == 1} == failed
    assert {kind.exit_code for kind in TREE.values()} == {1, 2}


@given(st.lists(st.text("abcdef", min_size=3, max_size=8), min_size=1, max_size=5, unique=True))
def test_a_known_word_is_its_own_nearest(known):
    assert did_you_mean(known[0], known) == f" Did you mean {known[0]!r}?"


def test_a_word_like_no_other_gets_no_advice():
    assert did_you_mean("zzz", ["hm", "elevation"]) == ""
    assert did_you_mean("hm", []) == ""


def test_a_missing_name_is_told_what_there_is():
    error = missing_variable("elevaton", ["hm", "elevation"])
    assert isinstance(error, MissingVariable)
    assert str(error) == (
        "'elevaton' is not in the cube (has: elevation, hm). Did you mean 'elevation'?"
    )
    assert str(missing_variable("a", [], where="a.nc")) == "'a' is not in a.nc (has: nothing)."
