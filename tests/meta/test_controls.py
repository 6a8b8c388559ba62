"""``tools/gram_controls.py``: its plan, the configurations of its cells, and its tables."""

import json
import re
from dataclasses import asdict, replace

import gram_controls
import pytest

from softprompt.core.meta.config import load_meta_config
from softprompt.core.meta.controls import (
    CONTROLS,
    CURVES,
    EPOCHS,
    LEARNERS,
    META,
    META_TRAIN,
    SHIFTED,
    SHOTS,
    MetaTraining,
    Training,
    cells_of,
    plan_controls,
    summary_of,
)
from softprompt.core.meta.controls_table import controls_markdown
from softprompt.core.meta.pairs.generated import GeneratedPairs
from softprompt.core.protocols import worker
from softprompt.core.protocols.driver import run_cells
from softprompt.core.protocols.engines.engine import Engine


def write(run: Training, base: float, new: float, shifted: float = 0.0):
    """Write a run's results as if it had been trained and evaluated."""
    run.folder.mkdir(parents=True)
    scores = {"base": {"accuracy": base}, "new": {"accuracy": new}}
    (run.folder / "results.json").write_text(json.dumps({"results": {"it": scores}}))
    for name, *_ in run.evaluations():
        place = run.folder / "eval" / name
        place.mkdir(parents=True)
        accuracy = shifted if name in SHIFTED else base
        found = {"base": {"accuracy": accuracy}, "new": {"accuracy": new}}
        (place / "results.json").write_text(json.dumps({"results": {"it": found}}))


def test_every_control_is_trained_and_every_shot_for_host_and_gram(tmp_path):
    metas, runs = plan_controls(tmp_path, LEARNERS, CONTROLS, [1, 2])
    assert {meta.name for meta in metas} == set(META)
    by_shots = [(r.name, r.shots) for r in runs if (r.learner, r.seed) == ("coop", 2)]
    expected = [(name, 16) for name in CONTROLS]
    expected += [(name, shots) for name in CURVES for shots in SHOTS[:-1]]
    assert sorted(by_shots) == sorted(expected)
    metas, runs = plan_controls(tmp_path, ["coop"], ["host"], [1])
    assert metas == [] and len(runs) == len(SHOTS)


def test_cells_wait_for_what_they_use(tmp_path):
    """Meta-trainings for the first one's features, trainings for theirs, evaluations for these."""
    metas, runs = plan_controls(tmp_path, ["coop"], ["host", "full", "film"], [1])
    cells = cells_of(metas, runs)
    place = {cell.folder.removeprefix(f"{tmp_path}/"): cell for cell in cells}
    waits = {name: cell.depends_on.removeprefix(f"{tmp_path}/") for name, cell in place.items()}
    assert waits["meta/coop/full"] == waits["coop/host/shots16-seed1"] == ""
    assert waits["meta/coop/film"] == "meta/coop/full"
    assert waits["coop/film/shots16-seed1"] == "meta/coop/film"
    assert waits["coop/film/shots16-seed1/eval/shapes_v2"] == "coop/film/shots16-seed1"
    assert len(cells) == len(place) == len({cell.name for cell in cells})
    seen = {""}
    for cell in cells:  # as the queue wants them
        assert cell.depends_on in seen
        seen.add(cell.folder)


def test_a_cell_is_meta_trained_by_a_worker_that_knows_nothing_of_it(tmp_path, monkeypatch):
    """The cell names its runner, and goes on with what is there."""
    seen = []
    trains = lambda cfg, resume: seen.append((cfg.META.REGULATOR.FORM, resume))  # noqa: E731
    monkeypatch.setattr("softprompt.core.meta.run.meta_train", trains)
    cell = MetaTraining(tmp_path, "coop", "film").cell()
    assert worker.run_cell(asdict(cell))["state"] == worker.DONE
    assert seen == [("film", True)]


@pytest.mark.parametrize("name", META)
@pytest.mark.parametrize("learner", ["coop", "unigram"])
def test_a_control_differs_from_the_default_in_its_own_settings_alone(learner, name, tmp_path):
    cells = [MetaTraining(tmp_path, learner, each).cell() for each in ("full", name)]
    assert {cell.runner for cell in cells} == {META_TRAIN}
    default, cfg = (load_meta_config(cell.config_file, cell.flags) for cell in cells)
    assert cfg.OUTPUT_DIR == str(tmp_path / "meta" / learner / name.replace(" ", "_"))
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
    host = Training(tmp_path, "unigram", "host", 16, 1).cells()[0].configuration()
    training, *evaluations = Training(tmp_path, "unigram", name, 16, 1).cells()
    cfg = training.configuration()
    if "half rate" in name:
        assert cfg.OPTIM.LR == host.OPTIM.LR / 2
        cfg.defrost()
        cfg.OPTIM.LR = host.OPTIM.LR
    for node in ("OPTIM", "DATASET", "DATALOADER", "PROMPT", "MODEL", "INPUT", "TEST"):
        assert cfg[node] == host[node], node
    assert cfg.PROMPT.IVLP.PROMPT_DEPTH_TEXT == 1
    assert cfg.TRAINER.NAME == ("erm" if name in ("host", "half rate") else "gram")
    evaluated = [(c.configuration().DATASET.NAME, c.epoch, c.subsets) for c in evaluations]
    assert {cell.model_dir for cell in evaluations} == {training.folder}
    expected = [(each, 0, ("base",)) for each in SHIFTED]
    if name in CURVES:
        expected += [("shapes", epoch, ("base", "new")) for epoch in EPOCHS]
    assert evaluated == expected


def test_the_tables_are_means_over_seeds(tmp_path, capsys):
    for seed, base in ((1, 70.0), (2, 80.0)):
        write(Training(tmp_path, "coop", "host", 16, seed), base, 50.0, shifted=40.0)
        write(Training(tmp_path, "coop", "full", 16, seed), base, 60.0, shifted=45.0)
    write(Training(tmp_path, "coop", "host", 1, 1), 55.0, 52.0)
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
    assert gram_controls.main(["--output-dir", str(tmp_path), *options]) == 2
    assert re.search(line, capsys.readouterr().err)


@pytest.mark.slow
def test_meta_training_training_and_evaluations_run_one_after_another(tmp_path):
    """The real cells of a control, each with less to do."""
    pairs = GeneratedPairs(200)
    lines = ["path,caption"]
    for index in range(len(pairs)):
        pairs.image(index).save(tmp_path / f"{index}.png")
        lines.append(f'{index}.png,"{pairs.caption(index)}"')
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    short = {"META.PAIRS.SOURCE": str(tmp_path / "captions.csv")}
    short |= {f"META.CLUSTER.{size}": 0 for size in ("TOPICS", "CLASSES", "DOMAINS")}
    short |= {"META.OUTER.STEPS": 2, "META.OUTER.VAL_FREQ": 2, "META.OUTER.VAL_TASKS": 2}
    quick = ("OPTIM.MAX_EPOCH", "5", "DATALOADER.TRAIN_X.BATCH_SIZE", "80", "TEST.MAX_IMAGES", "20")
    metas, (run, *_) = plan_controls(tmp_path / "out", ["coop"], ["full"], [1])
    cells = [
        replace(cell, flags=cell.flags | short)
        if cell.runner == META_TRAIN
        else replace(cell, pairs=quick)
        for cell in cells_of(metas, [run])
    ]
    assert run_cells(cells, Engine(jobs=1, threads=1), tmp_path, summary=summary_of) == {}
    assert run.finished()
    table = controls_markdown([run])
    assert "| GRAM: start and regulator |" in table and "| `coop`, full |" in table
