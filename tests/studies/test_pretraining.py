"""The pretraining of the embedded CLIP: its saved command, and its shortcut through the text."""

from pathlib import Path

import torch


def test_the_saved_command_has_the_same_settings(load_tool):
    from softprompt.core.studies.pretraining import Settings

    settings = Settings(
        steps=30,
        batch=8,
        lr=0.01,
        warmup=3,
        pool=100,
        wrong=20,
        seed=5,
        workers=1,
        output=Path("weights.safetensors"),
    )
    flags = [*settings.command().split()[2:], "--output", "weights.safetensors"]
    assert Settings(**vars(load_tool("pretrain_tiny").parse(flags))) == settings


def test_positions_after_the_end_token_change_nothing(clip):
    from softprompt.core.studies.pretraining import encode_texts

    sentences = [f"a {'very ' * count}red square" for count in (0, 7, 2, 1, 4)]
    tokens = clip.text.tokenizer(sentences)
    with torch.no_grad():
        assert torch.allclose(
            encode_texts(clip.model, tokens), clip.model.encode_text(tokens), atol=1e-5
        )
