"""What others wrote takes one line wherever it is shown; the log has the rest."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.text import kind_and_said, one_line, said
from lowbit.graph.check import check_graph
from lowbit.worker import __main__ as worker
from lowbit.worker import doing, jobs, plan

BROKEN = "first\n  second\r\n\n\x1b[31mthird\x1b[0m\n" + "word " * 200


def test_one_line_of_a_bearable_length() -> None:
    assert one_line("a\n  b\tc\x00d") == "a b c d"
    assert one_line("abcdef", 4) == "abc…"
    text = said(RuntimeError(BROKEN))
    assert text.startswith("first second [31mthird [0m word") and text.endswith(" …") and len(text) < 304
    assert said(RuntimeError()) == "RuntimeError"
    assert kind_and_said(ValueError("no\naxis")) == "ValueError: no axis"
    assert kind_and_said(ValueError()) == "ValueError"


@pytest.mark.parametrize("error", [RuntimeError(BROKEN), UnsupportedError(BROKEN, BROKEN), BadInput(BROKEN)])
def test_whatever_ends_a_job_its_reason_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_job: Any) -> None:
        raise error

    monkeypatch.setattr(plan, "run", run)
    monkeypatch.setattr(jobs, "job_from", lambda plain: plain)
    result = worker.perform({"kind": "plan"})
    assert "\n" not in result.reason + result.remedy and "\x1b" not in result.reason
    assert result.reason.startswith(("first second", "RuntimeError: first second"))


def test_a_vendors_broken_message_takes_one_line_of_ours() -> None:
    conv = helper.make_node("Conv", ["image"], ["scores"])
    image, scores = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, 8, 8]) for n in ("image", "scores"))
    with pytest.raises(onnx.checker.ValidationError, match="\n"):
        onnx.checker.check_model(helper.make_model(helper.make_graph([conv], "g", [image], [scores])))
    with pytest.raises(BadInput) as caught:
        check_graph(helper.make_model(helper.make_graph([conv], "g", [image], [scores])), "x.onnx")
    assert "\n" not in str(caught.value)


def test_a_crash_finds_what_was_being_done_beside_the_result(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    doing.begin(result)
    doing.doing("opening x in y")
    assert doing.place_of(result).read_text() == "opening x in y"
    doing.end()
    assert list(tmp_path.iterdir()) == []
