"""lecture check: every claim computed, the contract of its JSON, the command line, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from convscope.cli.status import run
from convscope.errors import ConvscopeError
from convscope.layers import lppool, maxpool
from convscope.lecture import NEEDS_TRAINING, Claim, check
from convscope.lecture.check_arithmetic import (
    convolution,
    correlation,
    flipped,
    moved,
    norm,
    pooled,
    random_maps,
)
from convscope.lecture.check_claim import CAVEAT, DOES_NOT_HOLD, HOLDS, VERDICTS
from convscope.lecture.check_text import render
from convscope.lecture.checks import CHECKS, open_questions

CLAIMS = {claim.id: claim for claim in check()}


def test_every_claim_of_the_lecture_is_checked_or_said_to_need_training() -> None:
    assert set(CLAIMS) | {question.id for question in NEEDS_TRAINING} == {f"L{n}" for n in range(1, 30)}
    assert list(CLAIMS) == list(CHECKS) == sorted(CLAIMS, key=lambda name: int(name[1:]))


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_contract(claim: Claim) -> None:
    document = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert list(document)[:6] == ["id", "claim", "claimed", "computed", "verdict", "source"]
    assert claim.verdict in VERDICTS
    assert claim.source.startswith(("slide", "notebook"))
    assert claim.claim.endswith(".")
    assert claim.explanation.endswith((".", "shift."))
    assert claim.computation


def test_verdicts() -> None:
    of = {
        verdict: {name for name, claim in CLAIMS.items() if claim.verdict == verdict} for verdict in VERDICTS
    }
    assert of[DOES_NOT_HOLD] == {"L19", "L23", "L27"}
    assert {"L1", "L9", "L10", "L14", "L18", "L21", "L24", "L25", "L28", "L29"} <= of[HOLDS]
    assert {"L2", "L5", "L11", "L12", "L20", "L22", "L26"} <= of[CAVEAT]


@pytest.mark.parametrize(
    ("name", "computed"),
    [
        ("L1", {"inputs": 120_000, "weights": 12_000_000}),
        ("L2", {"200×200×3": "1,579 times fewer", "32×32×3": "40.4 times fewer"}),
        ("L5", 152),
        ("L9", {"filter": 76, "full template": 3073}),
        ("L10", "28×28"),
        ("L18", "[[6, 8], [3, 4]]"),
        ("L20", {"max- and mean-pools": 0, "LeNet-5's sub-sampling": 44}),
        ("L21", {"with the pool": 1_199_882, "without it": 4_738_826}),
        ("L23", {"resnet50": 2, "googlenet": 14}),
        ("L25", {"with zeros": "36×36×3", "output": "32×32×3"}),
        ("L27", 2014),
        ("L28", {"only the last layer": "4,097,000 trained", "all but two blocks": "138,097,384 trained"}),
        ("L29", {"training": 60_000, "test": 10_000, "size": "28×28"}),
    ],
)
def test_computed(name: str, computed: object) -> None:
    assert CLAIMS[name].computed == computed


def test_overlap_is_counted_in_the_networks() -> None:
    text = "\n".join(CLAIMS["L19"].computation)
    assert "alexnet_2012: 3×3 stride 2 (3 times)" in text
    assert "vgg16: 2×2 stride 2 (5 times)" in text
    assert "51×51" in CLAIMS["L2"].explanation


def test_a_verdict_follows_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were there only networks whose pools do not overlap, the lecture would be right."""
    monkeypatch.setattr("convscope.lecture.check_networks.POOLING", ("vgg16", "lenet5", "lecture"))
    assert CHECKS["L19"]().verdict == HOLDS


def test_some_ids_and_a_wrong_one() -> None:
    assert [claim.id for claim in check(["l19", "L9"])] == ["L9", "L19"]
    assert check(["L4"]) == []
    assert [question.id for question in open_questions(["L4"])] == ["L4"]
    with pytest.raises(
        ConvscopeError, match="unknown claim 'L91'. Expected one of L1 to L29. Did you mean 'L9'?"
    ):
        check(["L91"])


# ---- the arithmetic against torch ----


def test_correlation_is_what_a_convolution_layer_computes() -> None:
    maps, filters = random_maps(0, 3, 9, 8), random_maps(1, 3, 5, 4)
    images, weights = torch.tensor([maps], dtype=torch.float64), torch.tensor([filters], dtype=torch.float64)
    expected = F.conv2d(images, weights, torch.tensor([4.0], dtype=torch.float64))
    assert correlation(maps, filters, bias=4) == expected[0, 0].tolist()


def test_convolution_is_correlation_with_the_flipped_kernel() -> None:
    picture, kernel = random_maps(2, 1, 7, 7)[0], random_maps(3, 1, 3, 2)[0]
    assert convolution(picture, kernel) == correlation([picture], [flipped(kernel)])


def test_pools_are_those_of_the_layers() -> None:
    picture = random_maps(4, 1, 6, 6)[0]
    image = torch.tensor(picture, dtype=torch.float32)[None, None]
    assert pooled(picture, max) == maxpool(2).module((1, 6, 6))(image)[0, 0].tolist()
    for p in (1, 2, 64):
        layer = lppool(2, p=p).module((1, 6, 6))
        assert torch.allclose(torch.tensor(pooled(picture, norm(p))), layer(image)[0, 0], rtol=1e-5)


def test_moved() -> None:
    assert moved([[1, 2], [3, 4]], 0, -1) == [[2, 0], [4, 0]]


# ---- text and command line ----


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_text_fits_and_sums_up(width: int) -> None:
    text = render(list(CLAIMS.values()), NEEDS_TRAINING, width=width)
    assert max(map(len, text.splitlines())) <= min(max(width, 60), 120)
    flat = " ".join(text.split())
    assert "27 claims: 13 hold, 11 hold with a caveat, 3 do not hold (L19, L23, L27)." in flat
    assert "Needs training" in flat
    for name, claim in CLAIMS.items():
        assert f"\n{name} " in "\n" + text
        assert claim.claim in flat


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lecture", "check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in document] == list(CLAIMS)
    assert run(["lecture", "check", "l19"]) == 0
    full = capsys.readouterr().out
    assert "how        lenet5: 2×2 stride 2 (2 times)" in full
    assert run(["lecture", "check", "L4", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert "L4 needs training" in captured.err
    assert run(["lecture", "check", "L191"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "unknown claim 'L191'" in captured.err


def test_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from convscope.cli.status import run; status = run(['lecture', 'check']);"
        "sys.exit(status or bool({'torch', 'torchvision', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_shows_what_comes_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "lecture.md").read_text(encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "90")
    assert run(["lecture", "check", "L19"]) == 0
    shown = page.split("<!-- output exact: convscope lecture check L19 -->\n```text\n")[1].split("\n```")[0]
    assert capsys.readouterr().out.rstrip() == shown
    assert run(["lecture", "check"]) == 0
    printed = capsys.readouterr().out.rstrip().split("\n\n")
    assert "\n\n".join([*printed[:2], printed[-1]]) in page
