"""Published numbers: that each stands beside the experiment it is of, and nowhere else."""

import csv
import json

import pytest

from softprompt.core.config.load import load_config
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.build import build_report
from softprompt.core.protocols.report.published import AVERAGED, FILE, SETTINGS, PublishedResults
from softprompt.core.protocols.runs import find_runs

with open(FILE, newline="", encoding="utf-8") as opened:
    PUBLISHED = list(csv.DictReader(opened))
CONFIGS = sorted({row["config"] for row in PUBLISHED} - {ZERO_SHOT})
FOLDERS = {"cross_dataset": "transfer", "domain_generalization": "transfer"}


@pytest.fixture
def report(tmp_path):
    """Write runs, a line each, and return the report's tables by kind."""

    def report(*runs: tuple, **others) -> dict:
        for place, scores, clip in runs:
            folder = tmp_path / place
            folder.mkdir(parents=True)
            found = {
                "results": {
                    ZERO_SHOT: {name: {"accuracy": value} for name, value in clip.items()},
                    "a": {name: {"accuracy": value} for name, value in scores.items()},
                },
                "warnings": [],
                "split": {"note": ""},
                "sampled": {},
                "config": {"TEST": {"SPLIT": "test", "TEMPLATES": "coop"}},
                "backbone": {"name": "ViT-B/16", "weights": "openai"},
            }
            (folder / "results.json").write_text(json.dumps(found | others))
        return {table.kind: table for table in build_report(find_runs([str(tmp_path)])).tables}

    return report


def dtd(*bases: float, config: str = "maple/vit_b16", shots: int = 16) -> list[tuple]:
    return [
        (
            f"base2new/{config}/dtd/shots_{shots}/seed_{seed}",
            {"base": base, "new": 59.0},
            {"base": 53.24, "new": 59.9},
        )
        for seed, base in enumerate(bases, 1)
    ]


def row(table, name: str) -> dict:
    return next(row.cells for row in table.rows if row.name == name)


def test_a_number_stands_beside_the_published_one(report):
    cell = row(report(*dtd(80.0, 81.0, 82.0))["base2new"], "dtd")["base"]
    assert cell.published.value == 80.36
    assert cell.published.source.startswith("cited:")
    assert cell.difference == pytest.approx(0.64)
    assert cell.half == pytest.approx(4.303 * 1.0 / 3**0.5, abs=1e-3)
    assert not cell.outside


def test_a_published_number_outside_the_interval_is_marked(report):
    table = report(*dtd(90.0, 90.1, 90.2))["base2new"]
    assert row(table, "dtd")["base"].outside
    assert row(table, "dtd")["H"].published.value == pytest.approx(68.16)


def test_one_seed_has_no_interval_to_be_outside_of(report):
    cell = row(report(*dtd(10.0))["base2new"], "dtd")["base"]
    assert cell.published is not None and cell.half is None and not cell.outside


def test_zero_shot_clip_has_its_own(report):
    cell = row(report(*dtd(80.0, 81.0))["base2new"], "dtd")["CLIP base"]
    assert (cell.published.method, cell.published.value) == ("CLIP", 53.24)
    assert not cell.outside


@pytest.mark.parametrize(
    "others",
    [
        {"backbone": {"name": "RN50", "weights": "openai"}},
        {"backbone": {"name": "ViT-B/16", "weights": "random"}},
        {"sampled": {"base": "20 of 600 images"}},
        {"split": {"note": "non-standard split: y"}},
        {"config": {"TEST": {"SPLIT": "val", "TEMPLATES": "coop"}}},
    ],
    ids=str,
)
def test_another_experiment_is_compared_with_nothing(report, others):
    table = report(*dtd(80.0, 81.0), **others)["base2new"]
    assert not table.sources


@pytest.mark.parametrize(
    "options",
    [
        {"config": "maple/vit_b16,OPTIM.MAX_EPOCH=1"},
        {"config": "prometar/vit_b16_paper"},
        {"shots": 8},
    ],
    ids=str,
)
def test_another_method_or_number_of_shots_is_compared_with_nothing(report, options):
    table = report(*dtd(80.0, 81.0, **options))["base2new"]
    assert all(source.startswith("CLIP: ") for source in table.sources)


def test_settings_that_change_no_result_leave_it_the_same_experiment(report):
    config = "maple/vit_b16,DATALOADER.NUM_WORKERS=4"
    assert row(report(*dtd(80.0, config=config))["base2new"], "dtd")["base"].published


def kgcoop(schedule: str, config: str = "kgcoop/vit_b16") -> tuple:
    settings = {"TEST": {"SPLIT": "test", "TEMPLATES": "coop"}, "OPTIM": {"LR_SCHEDULER": schedule}}
    return dtd(77.0, 78.0, config=config), {"config": settings}


@pytest.mark.parametrize(
    "config",
    [
        "kgcoop/vit_b16",
        "kgcoop/vit_b16,OPTIM.LR_SCHEDULER=cosine_squared",
        "kgcoop/vit_b16_published",
    ],
)
def test_kgcoops_numbers_are_compared_with_the_schedule_that_made_them(report, config):
    runs, others = kgcoop("cosine_squared", config)
    table = report(*runs, **others)["base2new"]
    assert row(table, "dtd")["base"].published.value == 77.55
    assert not any("not compared" in remark for remark in table.remarks)


def test_kgcoops_numbers_are_told_to_a_run_with_todays_schedule(report):
    runs, others = kgcoop("cosine")
    table = report(*runs, **others)["base2new"]
    assert row(table, "dtd")["base"].published is None
    assert row(table, "dtd")["CLIP base"].published.value == 53.24
    assert table.remarks[-1] == (
        "published, not compared: KgCoOp with OPTIM.LR_SCHEDULER cosine_squared (here cosine): "
        "dtd base 77.5, new 55.0, H 64.3"
    )


def test_settings_of_published_numbers_are_of_their_configs_and_have_a_source():
    published = PublishedResults()
    with open(SETTINGS, newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    configs = {config for config, *_ in published.numbers}
    for each in rows:
        assert each["source"] and configs & set(each["configs"].split())


def test_an_average_is_compared_if_it_is_over_the_published_datasets(report):
    def runs(datasets):
        score = {"base": 80.0, "new": 70.0}
        return [
            (f"base2new/coop/vit_b16/{name}/shots_16/seed_1", score, score) for name in datasets
        ]

    datasets = sorted(AVERAGED["base2new"])
    table = report(*runs(datasets[:-1]))["base2new"]
    assert table.rows[-1].cells["base"].published is None
    table = report(*runs(datasets[-1:]))["base2new"]
    assert table.rows[-1].cells["base"].published.value == 82.69
    assert table.rows[-1].cells["H"].published.value == 71.66


def test_transfers_and_shifts_have_a_table_each(report):
    place = "transfer/maple/vit_b16_cross_dataset/imagenet/shots_16/seed_1"
    one = {"all": 60.0}
    tables = report(
        (place, one, one), (f"{place}/eval/dtd", one, one), (f"{place}/eval/imagenet_a", one, one)
    )
    transfer, shift = tables["cross_dataset"], tables["domain_generalization"]
    assert [row.name for row in transfer.rows] == ["imagenet (source)", "dtd"]
    assert [row.name for row in shift.rows] == ["imagenet (source)", "imagenet_a"]
    assert row(transfer, "dtd")["accuracy"].published.value == 46.49
    assert row(shift, "imagenet_a")["accuracy"].published.value == 50.90
    assert row(transfer, "imagenet (source)")["accuracy"].published.value == 70.72


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_is_of_the_published_experiment(config, root):
    cfg = load_config(str(root / "configs" / f"{config}.yaml"))
    rows = [row for row in PUBLISHED if row["config"] == config]
    for found in rows:
        assert found["backbone"] == cfg.MODEL.BACKBONE.NAME
        assert found["protocol"] == "few_shot" or int(found["shots"]) == cfg.DATASET.NUM_SHOTS
        assert found["metric"] in (
            ("base", "new", "H") if found["protocol"] == "base2new" else ("accuracy",)
        )
    name = rows[0]["method"].lower().replace("deep language prompting", "language_only")
    own = cfg.TRAINER.NAME if cfg.TRAINER.NAME != "erm" else cfg.PROMPT.NAME
    assert own == name and len({row["method"] for row in rows}) == 1


def test_every_published_number_has_a_source_and_is_there_once():
    assert len(PublishedResults().numbers) == len(PUBLISHED) > 300
    trusts = {row["source"].split(":")[0] for row in PUBLISHED}
    assert trusts <= {"orig", "cited", "rerun", "note"}


def test_a_published_h_is_that_of_its_base_and_new():
    values = {tuple(row.values())[1:7]: float(row["value"]) for row in PUBLISHED}
    for (*key, metric, shots), value in values.items():
        base, new = (values.get((*key, half, shots)) for half in ("base", "new"))
        if metric == "H" and base is not None:
            assert value == pytest.approx(2 * base * new / (base + new), abs=0.03), key
