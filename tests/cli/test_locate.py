import pytest
from torch import nn

from autoprune.cli.shapes import example_inputs, load_data, parse_shape
from autoprune.errors import ArgumentError
from autoprune.locate import call, load_model, locate

pytestmark = pytest.mark.usefixtures("workplace")


def test_finds_what_lies_in_the_current_folder() -> None:
    assert isinstance(load_model("user_zoo:net"), nn.Module)


def test_takes_a_class_and_dotted_names() -> None:
    assert isinstance(load_model("user_zoo:Net"), nn.Module)
    assert locate("os:path.join", "--model") is __import__("os").path.join


def test_an_object_that_is_no_callable_is_taken_as_it_is() -> None:
    assert call("user_zoo:table", "--data") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("user_zoo", ["MODULE:CALLABLE", "'user_zoo'"]),
        (":net", ["MODULE:CALLABLE"]),
        ("user_zoo:", ["MODULE:CALLABLE"]),
        ("", ["MODULE:CALLABLE"]),
        ("user_nowhere:net", ["no module 'user_nowhere'", "PYTHONPATH"]),
        ("user_zoo.deeper:net", ["no module 'user_zoo.deeper'"]),
        ("user_broken:net", ["needs 'user_missing_dependency'", "not installed"]),
        ("user_raises:net", ["RuntimeError", "no luck"]),
        ("user_zoo:nett", ["no 'nett'", "did you mean 'net'?"]),
        ("user_zoo:zzzzzz", ["no 'zzzzzz'", "it has", "broken"]),
        ("user_zoo:broken", ["user_zoo:broken()", "OSError", "the weights are not there"]),
        ("user_zoo:number", ["torch.nn.Module", "int"]),
    ],
)
def test_a_model_that_cannot_be_had_says_why(text: str, parts: list[str]) -> None:
    with pytest.raises(ArgumentError) as caught:
        load_model(text)
    for part in ["--model", *parts]:
        assert part in str(caught.value)


def test_data_must_have_its_loaders() -> None:
    assert len(load_data("user_zoo:data").train) == 4
    with pytest.raises(ArgumentError, match="--data user_zoo:number .* int without train and search_val"):
        load_data("user_zoo:number")


@pytest.mark.parametrize(
    ("text", "shape"), [("1,3,32,32", (1, 3, 32, 32)), ("2x1x8x8", (2, 1, 8, 8)), ("5, 7", (5, 7))]
)
def test_shapes_parse(text: str, shape: tuple[int, ...]) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "1,,2", "1,-3", "a", "0,3", "1.5,2", "1;2"])
def test_shapes_that_do_not_parse(text: str) -> None:
    with pytest.raises(ArgumentError, match="--input-shape must be positive whole numbers"):
        parse_shape(text)


def test_example_inputs_come_from_shapes_or_data() -> None:
    data = load_data("user_zoo:data")
    assert example_inputs(["1,1,6,6"], None).shape == (1, 1, 6, 6)
    assert [t.shape[1] for t in example_inputs(["1,2", "1,3"], None)] == [2, 3]
    assert (example_inputs([], data) == data.train[0][0][:1]).all()
    with pytest.raises(ArgumentError, match="--input-shape .* or --data"):
        example_inputs([], None)
