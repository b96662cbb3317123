"""The picture has a panel for each family, marks the stages, and leaves no global state."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from rerankbench.tracking import curves
from rerankbench.tracking.history import History


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "history.jsonl")
    for stage, steps in enumerate((40, 25)):
        for step in range(1, steps + 1):
            values = {"loss": 1.0 / step, "learning_rate": 1e-5, "weights/mean": 1.0, "weights/max": 2.0, "zeta": 3.0}
            history.append({"stage": stage, "step": step, "epoch": step / steps, **values})
        history.append({"stage": stage, "step": steps, "dev/ndcg@10": 0.5 + stage / 10, "gates/layer_10": 1e-6})
        history.append({"stage": stage, "step": steps, "gates/layer_2": 1.0})
    return history


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, as matplotlib holds them."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k)))
    return figures


def test_a_panel_for_each_family(history: History, drawn, tmp_path: Path) -> None:
    curves.draw(history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["curves.png", "history.jsonl"]
    (figure,) = drawn
    titles = [axes.get_title().partition(" (")[0] for axes in figure.axes]
    assert titles == ["loss", "learning rate", "dev set", "loss weights", "gates", "zeta"]
    panels = dict(zip(titles, figure.axes, strict=True))
    for axes in figure.axes:
        assert axes.get_xlabel() == "optimiser step" and axes.get_ylabel()
        assert [text.get_text() for text in axes.texts] == ["stage 0", "stage 1"]
        assert axes.get_xlim() == figure.axes[0].get_xlim()
    assert [text.get_text() for text in panels["dev set"].get_legend().get_texts()] == [
        "ndcg@10 (best 0.6000, step 65)"
    ]
    assert [text.get_text() for text in panels["gates"].get_legend().get_texts()] == ["layer 2", "layer 10"]
    assert panels["gates"].get_yscale() == "log" and panels["loss weights"].get_yscale() == "linear"


def test_the_second_stage_follows_the_first(history: History, drawn, tmp_path: Path) -> None:
    curves.draw(history, tmp_path / "curves.png")
    rate = drawn[0].axes[1]
    steps = [list(line.get_xdata()) for line in rate.lines if len(line.get_xdata()) > 2]
    assert steps == [list(range(1, 41)), list(range(41, 66))]
    assert [line.get_xdata()[0] for line in rate.lines if len(line.get_xdata()) == 2] == [40]


def test_the_loss_is_shown_as_logged_and_smoothed(history: History, drawn, tmp_path: Path) -> None:
    curves.draw(history, tmp_path / "curves.png")
    raw, smooth = drawn[0].axes[0].lines[:2]
    assert list(raw.get_ydata()) == pytest.approx([1 / step for step in range(1, 41)])
    assert raw.get_alpha() < 1 and smooth.get_alpha() is None
    assert smooth.get_ydata()[10] == pytest.approx(sum(1 / step for step in range(9, 14)) / 5)


def test_a_moving_mean_leaves_out_what_is_not_finite() -> None:
    assert list(curves._smoothed([1.0, math.nan, 3.0, 5.0], 3)) == [1.0, 2.0, 4.0, 4.0]
    assert math.isnan(curves._smoothed([math.nan], 3)[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0, 1e30])
def test_any_value_can_be_drawn(tmp_path: Path, value: float) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append({"stage": 0, "step": 0, "dev/ndcg@10": value, "loss": value, "weights/max": value})
    curves.draw(history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_nothing_logged_nothing_drawn(tmp_path: Path) -> None:
    curves.draw(History(tmp_path / "history.jsonl"), tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_no_global_state(history: History, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rerankbench.tracking import curves, history; "
        "assert 'matplotlib' not in sys.modules; "
        "curves.draw(history.History(Path(sys.argv[1])), Path(sys.argv[2])); print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(history.path), str(tmp_path / "curves.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
