"""``tools/gram_controls.py``: what it plans, what its configurations are, and its tables."""

import json

import gram_controls
import pytest
from _controls import CONTROLS, CURVES, EPOCHS, META, SHIFTED, SHOTS, Control, Trained


def planned(tmp_path, *arguments):
    given = gram_controls.parse(["--output-dir", str(tmp_path), *map(str, arguments)])
    return gram_controls.plan(given)


def write(run: Trained, base: float, new: float, shifted: float = 0.0):
    """Write a run's results as if it had been trained and evaluated."""
    run.folder.mkdir(parents=True)
    scores = {"base": {"accuracy": base}, "new": {"accuracy": new}}
    (run.folder / "results.json").write_text(json.dumps({"results": {"it": scores}}))
    for name, *_ in run._evaluated():
        place = run.folder / "eval" / name
        place.mkdir(parents=True)
        accuracy = shifted if name in SHIFTED else base
        found = {"base": {"accuracy": accuracy}, "new": {"accuracy": new}}
        (place / "results.json").write_text(json.dumps({"results": {"it": found}}))


def test_every_control_is_trained_and_every_shot_for_host_and_gram(tmp_path):
    controls, runs = planned(tmp_path, "--seeds", 1, 2)
    assert {c.name for c in controls} == set(META)
    by_shots = [(r.name, r.shots) for r in runs if (r.learner, r.seed) == ("coop", 2)]
    expected = [(name, 16) for name in CONTROLS]
    expected += [(name, shots) for name in CURVES for shots in SHOTS[:-1]]
    assert sorted(by_shots) == sorted(expected)
    controls, runs = planned(tmp_path, "--learners", "coop", "--controls", "host", "--seeds", 1)
    assert controls == [] and len(runs) == len(SHOTS)


@pytest.mark.parametrize("name", META)
@pytest.mark.parametrize("learner", ["coop", "unigram"])
def test_a_control_differs_from_the_default_in_its_own_settings_alone(learner, name, tmp_path):
    default = Control(tmp_path, learner, "full").configuration()
    cfg = Control(tmp_path, learner, name).configuration()
    for key, value in META[name].items():
        node = cfg
        for part in key.split("."):
            node = node[part]
        assert node == value
    different = {s for s in cfg.META if cfg.META[s] != default.META[s]}
    assert different == {key.split(".")[1] for key in META[name]}
    assert cfg.PROMPT == default.PROMPT


@pytest.mark.parametrize("name", CONTROLS)
def test_all_trainings_have_one_budget_but_for_the_rate_of_those_named_so(name, tmp_path):
    host = Trained(tmp_path, "unigram", "host", 16, 1).configuration()
    run = Trained(tmp_path, "unigram", name, 16, 1)
    cfg = run.configuration()
    if "half rate" in name:
        assert cfg.OPTIM.LR == host.OPTIM.LR / 2
        cfg.defrost()
        cfg.OPTIM.LR = host.OPTIM.LR
    for node in ("OPTIM", "DATASET", "DATALOADER", "PROMPT", "MODEL", "INPUT", "TEST"):
        assert cfg[node] == host[node], node
    assert cfg.PROMPT.IVLP.PROMPT_DEPTH_TEXT == 1
    assert cfg.TRAINER.NAME == ("erm" if name in ("host", "half rate") else "gram")
    evaluated = [(c.DATASET.NAME, epoch, subsets) for c, epoch, subsets in run.evaluations()]
    expected = [(each, 0, ("base",)) for each in SHIFTED]
    if name in CURVES:
        expected += [("shapes", epoch, ("base", "new")) for epoch in EPOCHS]
    assert evaluated == expected


def test_the_tables_are_means_over_seeds(tmp_path, capsys):
    for seed, base in ((1, 70.0), (2, 80.0)):
        write(Trained(tmp_path, "coop", "host", 16, seed), base, 50.0, shifted=40.0)
        write(Trained(tmp_path, "coop", "full", 16, seed), base, 60.0, shifted=45.0)
    write(Trained(tmp_path, "coop", "host", 1, 1), 55.0, 52.0)
    options = ["--learners", "coop", "--seeds", "1", "2", "--table"]
    assert gram_controls.main(["--output-dir", str(tmp_path), *options]) == 0
    table = capsys.readouterr().out
    assert "| 75.0 / 50.0 / 60.0 ± 2.3" in table and "| 40.0" in table
    assert "| 75.0 / 60.0 / 66.7 ± 2.8" in table and "| 45.0" in table
    assert "GRAM, regulator `film`" in table and "–" in table
    assert "55.0 / 52.0 (seeds 1)" in table
    assert not (tmp_path / gram_controls.TABLE).exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [(["--jobs", "0"], "--jobs is 0"), (["--table"], "none of the .* runs has finished")],
)
def test_mistakes_end_in_a_line(options, line, tmp_path, capsys):
    import re

    assert gram_controls.main(["--output-dir", str(tmp_path), *options]) == 2
    assert re.search(line, capsys.readouterr().err)
