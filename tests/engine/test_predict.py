"""``tools/predict.py``: a run's prompts on pictures of one's own."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from predict import main

from softprompt.core.base.errors import UserError
from softprompt.core.config.load import load_config
from softprompt.core.data.batches import Batches
from softprompt.core.data.transforms import evaluation_transform
from softprompt.core.engine.predictor import Predictor
from softprompt.core.engine.run import train
from softprompt.core.engine.session import Session

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [
    *("MODEL.BACKBONE.PRETRAINED", "", "DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "2"),
    *("TEST.MAX_IMAGES", "4", "TEST.ZERO_SHOT", "False"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train once for each learner; return the run's folder."""
    runs: dict[str, Path] = {}

    def trained(learner: str, *pairs: str) -> Path:
        if learner not in runs:
            runs[learner] = tmp_path_factory.mktemp("runs") / "a run"
            out = ["OUTPUT_DIR", str(runs[learner])]
            file = str(ROOT / "configs" / learner.split("-")[0] / "tiny.yaml")
            train(load_config(file, pairs=[*PAIRS, *out, *pairs]))
        return runs[learner]

    return trained


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Three pictures in folders, and a text file among them."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(("photos/b.png", "photos/deep/ü.JPG", "photos/a.png")):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        colour = (80 * index, 200, 40)
        Image.new("RGB", (50 + index, 70), colour).save(file)
    (tmp_path / "photos" / "notes.txt").write_text("mine")
    return tmp_path


@pytest.fixture
def predict(capsys):
    """Run the tool; return its exit code, what it found by picture, and its errors."""

    def predict(*arguments) -> tuple[int, dict, str]:
        code = main([*map(str, arguments), "--json"])
        said = capsys.readouterr()
        found = json.loads(said.out) if said.out else []
        return code, {entry.pop("picture"): entry for entry in found}, said.err

    return predict


def test_a_folder_a_pattern_and_a_picture(trained, pictures, predict):
    run = trained("coop")
    code, found, errors = predict(run, "photos", "--top", 3)
    assert code == 0 and "RANDOM WEIGHTS" in errors
    assert list(found) == ["photos/a.png", "photos/b.png", "photos/deep/ü.JPG"]
    best = found["photos/a.png"]["classes"]
    assert len(best) == 3
    values = [entry["probability"] for entry in best]
    assert values == sorted(values, reverse=True) and sum(values) <= 1
    trained_on = load_config(str(run / "config.yaml"))
    names = Session(trained_on).classnames("base")
    assert {entry["class"] for entry in best} <= set(names)
    (alone,) = predict(run, "photos/**/*.JPG", "--top", 3)[1].items()
    assert alone[0] == "photos/deep/ü.JPG"
    together = found["photos/deep/ü.JPG"]["classes"]
    for left, right in zip(alone[1]["classes"], together, strict=True):
        assert left["class"] == right["class"]
        assert left["probability"] == pytest.approx(right["probability"], rel=1e-4)


@pytest.mark.parametrize("learner", ["coop", "cocoop", "ivlp"])
def test_it_says_what_evaluation_says(trained, pictures, learner):
    run = trained(learner)
    cfg = load_config(str(run / "config.yaml"))
    session = Session(cfg)
    items = session.test_items("base")[:3]
    for index, item in enumerate(items):
        session.dataset.reader()(item.path).save(pictures / f"{index}.png")
    transform = evaluation_transform(cfg.INPUT.TRANSFORMS, session.preprocessing)
    batches = Batches(items, session.dataset.reader(), transform, batch_size=3)
    predictor = Predictor(run)
    expected = predictor.model(next(batches.epoch()).images).logits.softmax(dim=-1)
    found = predictor([str(pictures / f"{index}.png") for index in range(3)])
    for prediction, probabilities in zip(found, expected, strict=True):
        assert prediction.probabilities.allclose(probabilities, atol=1e-5)


def test_other_class_names(trained, pictures, predict):
    names = ["song bird", "jet_airplane"]
    code, found, _ = predict(trained("coop"), "photos/a.png", "--classes", *names)
    best = found["photos/a.png"]["classes"]
    assert code == 0
    assert {entry["class"] for entry in best} == set(names)
    assert sum(entry["probability"] for entry in best) == pytest.approx(1)


def test_class_specific_contexts_know_their_classes_only(trained, pictures, predict):
    pairs = ["PROMPT.COOP.CSC", "True", "TEST.CLASSES", "(base,)"]
    run = trained("coop-specific", *pairs)
    code, found, errors = predict(run, "photos/a.png", "--classes", "song bird", "dog")
    assert (code, found) == (2, {})
    assert "has none for 'song bird'" in errors and errors.count("\n") == 1
    code, found, _ = predict(run, "photos/a.png")
    assert code == 0 and len(found["photos/a.png"]["classes"]) == 5


def test_unreadable_pictures_are_named_and_the_others_told(trained, pictures, predict):
    (pictures / "cut.png").write_bytes((pictures / "photos" / "a.png").read_bytes()[:60])
    arguments = ["photos/notes.txt", "photos/a.png", "nowhere.png", "cut.png"]
    code, found, errors = predict(trained("coop"), *arguments)
    assert code == 2
    assert "classes" in found["photos/a.png"]
    for name in ("photos/notes.txt", "nowhere.png", "cut.png"):
        assert name in found[name]["error"]
        assert sum(name in line for line in errors.splitlines()) == 1


def test_the_prompt_file_alone_is_enough(trained, pictures, predict):
    run = trained("coop")
    (file,) = run.glob("checkpoints/*/prompts.safetensors")
    shutil.copy(file, pictures / "mine.safetensors")
    assert predict("mine.safetensors", "photos")[1] == predict(run, "photos")[1]


def test_settings_can_be_changed(trained, pictures, predict):
    run = trained("coop")
    change = ["--set", "INPUT.INTERPOLATION", "nearest", "DATALOADER.TEST.BATCH_SIZE", 2]
    assert len(predict(run, "photos", *change)[1]) == 3
    assert len(predict(run, "photos", *change[1:])[1]) == 3  # as for every other tool
    code, _, errors = predict(run, "photos", "--set", "INPUT.SIZ", "3")
    assert code == 2 and "INPUT.SIZ" in errors


def test_the_table(trained, pictures, capsys):
    assert main([str(trained("coop")), "photos/a.png", "photos/b.png", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["picture", "class", "%"]
    assert [line.split()[0] for line in lines[2::2]] == ["photos/a.png", "photos/b.png"]
    assert len(lines) == 2 + 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "photos"], "no prompts in nowhere"),
        (["photos", "photos"], "no prompts in photos"),
        (["RUN", "empty"], "empty matches no picture"),
        (["RUN", "photos/*.gif"], "photos/*.gif matches no picture"),
        (["RUN", "photos", "--top", "0"], "argument --top: 0 is less than 1"),
        (["RUN", "photos", "--classes", "dog"], "'dog' is one class"),
        (["RUN", "photos", "--classes", "dog", " "], "one of the class names is empty"),
        (["photos/notes.txt", "photos"], "cannot be read as a prompt file"),
    ],
)
def test_a_mistake_is_one_line(trained, pictures, predict, arguments, says):
    (pictures / "empty").mkdir()
    arguments = [trained("coop") if word == "RUN" else word for word in arguments]
    code, found, errors = predict(*arguments)
    assert (code, found) == (2, {})
    assert says in errors and errors.count("\n") == 1


@pytest.fixture
def predictor(trained):
    return Predictor(trained("coop"))


def test_one_picture_in_any_form(predictor, pictures):
    from torchvision.transforms.functional import pil_to_tensor

    file = "photos/a.png"
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    tensor = pil_to_tensor(image)
    (expected,) = predictor([file])
    assert (expected.file, expected.error) == (file, "")
    for given in (file, Path(file), image, tensor, tensor / 255, tensor[None], [image], (tensor,)):
        (found,) = predictor(given)
        assert torch.equal(found.probabilities, expected.probabilities)
    with Image.open(file) as opened:
        assert [each.file for each in predictor([opened, image, file])] == [
            *(opened.filename, "number 1", file)
        ]


def test_a_deep_picture_in_memory_is_told_of_by_its_number(predictor):
    (found,) = predictor(Image.new("F", (4, 4)))
    assert found.probabilities is None
    assert found.error.startswith("the picture number 0 (mode F) holds floating-point numbers")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (7, "int is no picture; give the path of a file, a PIL image, a tensor, or several"),
        ([None], "NoneType is no picture"),
        (b"a.png", "int is no picture"),
        ([torch.zeros(3, 4, 4).numpy()], "ndarray is no picture.*PIL.Image.fromarray"),
        (torch.zeros(4, 4), r"a tensor of the shape \(4, 4\) is no picture"),
        (torch.zeros(2, 1, 4, 4), r"a tensor of the shape \(1, 4, 4\) is no picture"),
        (torch.randn(3, 40, 40), "from -.* is no picture; .* not normalized yet"),
        (torch.zeros(3, 4, 4).long(), "a tensor of torch.int64 from 0 to 0 is no picture"),
    ],
)
def test_what_is_no_picture_is_told_at_once(predictor, given, says):
    with pytest.raises(UserError, match=says):
        predictor(given)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_named_as_a_picture_is_not_read(trained, pictures, predict):
    os.mkfifo("photos/pipe.png")
    code, found, _ = predict(trained("coop"), "photos")
    assert code == 0 and "photos/pipe.png" not in found
    code, _, errors = predict(trained("coop"), "photos/pipe.png")
    assert code == 2 and "photos/pipe.png is no picture, but a pipe" in errors


def test_turned_pictures_are_turned_back_if_asked(trained, pictures):
    exif, run = Image.Exif(), trained("coop")
    exif[0x0112] = 3
    image = Image.linear_gradient("L").convert("RGB")
    image.save("turned.png", exif=exif)
    (asked,) = Predictor(run, pairs=["INPUT.EXIF_ORIENTATION", "True"])("turned.png")
    (expected,) = Predictor(run)(image.rotate(180))
    assert torch.equal(asked.probabilities, expected.probabilities)


def test_prompts_or_logits_that_are_not_finite_are_one_line(trained, pictures, capsys):
    from safetensors import safe_open
    from safetensors.torch import save_file

    run = shutil.copytree(trained("coop"), pictures / "copy")
    (file,) = run.glob("checkpoints/*/prompts.safetensors")
    with safe_open(file, "pt") as opened:
        metadata, context = opened.metadata(), opened.get_tensor("context")
    for value, says in ((float("nan"), "its 'context' is not finite"), (3e38, "logits of these")):
        save_file({"context": context.fill_(value)}, file, metadata=metadata)
        assert main([str(run), "photos/a.png"]) == 2
        captured = capsys.readouterr()
        (*_, said) = captured.err.splitlines()
        assert said.startswith("error: ") and says in said and captured.out == ""
