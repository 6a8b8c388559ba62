"""What the official settings vary with the dataset and the number of shots."""

import pytest

from softprompt.core.base.registry import DATASETS
from softprompt.core.config.load import load_config, settings
from softprompt.core.config.yaml_files import flat_of


@pytest.fixture
def load(root):
    def load(config: str, dataset: str, shots: int = 16):
        file = str(root / "configs" / f"{config}.yaml")
        pairs = ["DATASET.NAME", dataset, "DATASET.NUM_SHOTS", str(shots)]
        return load_config(file, pairs=pairs)

    return load


@pytest.mark.parametrize("config", ["coop/vit_b16_few_shot", "coop/rn50_few_shot"])
def test_coop_trains_longer_on_more_images(load, config):
    epochs = [load(config, "dtd", shots).OPTIM.MAX_EPOCH for shots in (1, 2, 4, 8, 16)]
    assert epochs == [50, 100, 100, 200, 200]
    assert {load(config, "imagenet", shots).OPTIM.MAX_EPOCH for shots in (1, 16)} == {50}
    cfg = load(config, "dtd")
    assert (cfg.PROMPT.COOP.N_CTX, cfg.PROMPT.COOP.CTX_INIT) == (16, "")
    assert cfg.MODEL.BACKBONE.NAME == ("RN50" if "rn50" in config else "ViT-B/16")


def test_coop_trains_fifty_epochs_on_imagenet(load):
    for config in ("coop/vit_b16", "coop/vit_b16_cross_dataset", "prograd/vit_b16", "prograd/rn50"):
        assert load(config, "imagenet").OPTIM.MAX_EPOCH == 50
    assert load("coop/vit_b16", "dtd").OPTIM.MAX_EPOCH == 200


def test_prograd_projects_less_where_images_are_many(load):
    def strength(dataset, shots):
        cfg = load("prograd/rn50_few_shot", dataset, shots)
        return cfg.TRAINER.PROGRAD.STRENGTH, cfg.OPTIM.MAX_EPOCH

    assert [strength("dtd", shots) for shots in (1, 4, 8, 16)] == [
        *((1.0, 50), (1.0, 100)),
        *((0.8, 200), (0.8, 200)),
    ]
    assert strength("oxford_pets", 16) == (1.0, 200)


@pytest.mark.parametrize("name", DATASETS.names())
def test_prograd_starts_at_the_datasets_own_words(load, name):
    templates = DATASETS[name].templates
    own = templates.get("prograd", templates.get("coop", "a photo of a {}."))
    expected = own.removesuffix(" {}.")
    assert load("prograd/vit_b16", name).PROMPT.COOP.CTX_INIT == expected


def test_promptsrc_averages_late_epochs_of_distant_datasets(load):
    def average(dataset):
        node = load("promptsrc/vit_b16_few_shot", dataset, 4).TRAINER.PROMPTSRC
        return node.GPA_MEAN, node.GPA_STD

    late = {"stanford_cars", "oxford_flowers", "fgvc_aircraft", "dtd", "eurosat"}
    early = {"imagenet", "caltech101", "oxford_pets", "food101", "ucf101", "sun397"}
    assert {name: average(name) for name in late | early} == {
        **dict.fromkeys(late, (45.0, 5.0)),
        **dict.fromkeys(early, (30.0, 30.0)),
    }


def test_transfer_has_settings_of_its_own(load):
    maple = load("maple/vit_b16_cross_dataset", "imagenet")
    assert (maple.PROMPT.MAPLE.PROMPT_DEPTH, maple.OPTIM.LR, maple.OPTIM.MAX_EPOCH) == (
        3,
        0.0026,
        2,
    )
    source = load("promptsrc/vit_b16_cross_dataset", "imagenet")
    assert (source.PROMPT.IVLP.PROMPT_DEPTH_TEXT, source.PROMPT.IVLP.PROMPT_DEPTH_VISION) == (3, 3)
    assert (source.TRAINER.PROMPTSRC.GPA_MEAN, source.OPTIM.MAX_EPOCH) == (6.0, 20)


def test_every_protocol_config_is_of_its_classes(root):
    files = [
        *(root / "configs").glob("*/*_few_shot.yaml"),
        *(root / "configs").glob("*/*_cross_dataset.yaml"),
    ]
    assert len(files) >= 11
    for file in files:
        cfg = load_config(str(file))
        assert (cfg.DATASET.SUBSAMPLE_CLASSES, cfg.TEST.CLASSES) == ("all", ("all",)), file
        assert (cfg.DATASET.NAME == "imagenet") == file.stem.endswith("cross_dataset"), file


@pytest.mark.parametrize(
    ("today", "published", "changed"),
    [
        ("vit_b16", "vit_b16_published", {}),
        (
            "vit_b16_few_shot",
            "vit_b16_published_few_shot",
            {"DATALOADER.TRAIN_X.BATCH_SIZE": (128, 32)},
        ),
    ],
)
def test_kgcoop_as_published_has_another_schedule(root, today, published, changed):
    ours, theirs = (
        flat_of(settings(load_config(str(root / f"configs/kgcoop/{name}.yaml"))))
        for name in (today, published)
    )
    differs = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
    assert differs == changed | {"OPTIM.LR_SCHEDULER": ("cosine", "cosine_squared")}
