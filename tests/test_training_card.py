"""Cards say what happened, whatever their facts are."""

from dataclasses import asdict, replace

import pytest
import toy_training

from amtcli.training.card import (
    CardFacts,
    CurvePoint,
    PackFacts,
    SplitFacts,
    data_words,
    protocol_words,
    thinned,
    write_card,
)

PACKS = (
    PackFacts("maestro", "maestro", {"train": SplitFacts(962, 159.2), "test": SplitFacts(177, 20)}),
    PackFacts("mine", "pairs", {"validation": SplitFacts(1, 0.25)}),
)


def curve(*steps):
    return [CurvePoint(step, {"onset_f1": step / 1000, "frame_f1": step / 2000}) for step in steps]


@pytest.fixture
def facts(tmp_path):
    recipe = asdict(toy_training.write_recipe(tmp_path))
    return CardFacts(
        name="mine",
        is_named=True,
        n_parameters=1234567,
        recipe=recipe,
        protocol="By chance.",
        decoder={"kind": "toy"},
        packs=PACKS,
        step=600,
        last_step=800,
        hours=1.5,
        surroundings={"Device": "cpu (2 threads)", "PyTorch": "2.13|x"},
        curve=curve(200, 400, 600, 800),
        scores={"onset_f1": 0.6, "frame_f1": 0.3},
    )


def test_a_card_holds_every_fact(facts):
    card = write_card(facts)
    for line in (
        "# mine",
        "| | |\n|---|---|\n| Input | piano recordings of any length, resampled to 1000 Hz |",
        "| Size | 1,234,567 parameters |",
        "| Weights | those after step 600, averaged exponentially (0.9) |",
        "| maestro | train | 962 | 159.20 |",
        "| mine | validation | 1 | 0.25 |",
        "By chance.",
        "| Seed | 7 |",
        "| Steps | 800 of 12 |",
        "| Time in steps | 1.5 h |",
        "| Optimiser | adamw, learning rate 0.01, schedule one_cycle |",
        "| PyTorch | 2.13\\|x |",
        "| onset_f1 | 0.6000 |",
        "| step | onset_f1 | frame_f1 |",
        "| 800 | 0.8000 | 0.4000 |",
    ):
        assert f"\n{line}\n" in f"\n{card}", line
    assert "`amt evaluate REFERENCES --model mine`" in card.replace("\n", " ")
    assert card.endswith("## Licence\n\nMIT\n")
    assert "## Decoder" not in card


def test_a_card_says_which_settings_were_chosen(facts):
    thresholds = {"onset_threshold": (0.25, 0.5), "shortest_frames": (1.0,)}
    recipe = dict(facts.recipe)
    recipe["validation"] = {**recipe["validation"], "thresholds": thresholds}
    decoder = {"kind": "frames", "onset_threshold": 0.25, "shortest_frames": 1}
    card = write_card(replace(facts, recipe=recipe, decoder=decoder))
    assert "| `onset_threshold` | 0.25 | 0.25, 0.5 |\n| `shortest_frames` | 1 | 1 |" in card


def test_a_card_without_scores_says_for_whom_settings_were_chosen(facts):
    recipe = dict(facts.recipe)
    recipe["validation"] = {**recipe["validation"], "thresholds": {"onset_threshold": (0.25, 0.5)}}
    decoder = {"kind": "frames", "onset_threshold": 0.25}
    card = write_card(replace(facts, recipe=recipe, decoder=decoder, scores={}))
    words = card.replace("\n", " ")
    assert "chosen on the validation recordings for the best weights of this training" in words
    assert "they flatter" not in words
    assert "| `onset_threshold` | 0.25 | 0.25, 0.5 |" in card
    assert "Not validated as it is: validations of this training were of other weights" in words
    assert "Not validated while it was trained" not in words


def test_losses_are_no_scores_and_velocities_are_evaluated_as_such(facts):
    recipe = dict(facts.recipe)
    recipe["validation"] = {**recipe["validation"], "metric": "neg_loss"}
    informed = replace(
        facts,
        recipe=recipe,
        decoder={"kind": "score_velocities"},
        scores={"neg_loss": -0.25},
        curve=[CurvePoint(600, {"neg_loss": -0.25})],
    )
    card = write_card(informed).replace("\n", " ")
    assert "the objective's mean loss over windows, negative. For other" in card
    assert "`amt evaluate REFERENCES --velocity --model mine`" in card
    assert "mean over recordings" not in card
    elsewhere = write_card(replace(informed, is_named=False)).replace("\n", " ")
    assert (
        "`amt evaluate REFERENCES --velocity --model FOLDER`, FOLDER being this one." in elsewhere
    )


def test_nothing_is_said_of_settings_that_nobody_chose(facts):
    recipe = dict(facts.recipe)
    recipe["validation"] = {**recipe["validation"], "thresholds": {"onset_threshold": (0.25, 0.5)}}
    by_loss = {**recipe, "validation": {**recipe["validation"], "metric": "neg_loss"}}
    decoder = {"kind": "frames", "onset_threshold": 0.25}
    unchosen = {**recipe, "decoder": decoder}
    unmeasured = replace(facts, recipe=unchosen, decoder=decoder, scores={})
    assert "## Decoder" not in write_card(unmeasured)
    assert "## Decoder" not in write_card(replace(facts, recipe=by_loss, decoder=decoder))


def test_short_trainings_are_told_in_minutes(facts):
    assert "| Time in steps | 15.0 min |" in write_card(replace(facts, hours=0.25))


def test_a_card_without_scores_has_no_curve(facts):
    card = write_card(replace(facts, scores={}, curve=[]))
    assert "Not validated while it was trained." in card
    assert "| step |" not in card


def test_data_and_protocol_in_words(facts):
    assert data_words(PACKS) == (
        "maestro (maestro): 962 recordings, 159.2 h; mine (pairs): 0 recordings, 0.0 h"
    )
    words = protocol_words(facts.recipe, is_best=True)
    assert "windows of 0.4 s without augmentation, 8 per step" in words
    assert "(all recordings, whole), measured every 6 steps" in words
    recipe = dict(facts.recipe, augmentation={"gain": 1})
    recipe["validation"] = {**recipe["validation"], "n_recordings": 5, "excerpt_s": 20.5}
    words = protocol_words(recipe, is_best=True)
    assert "with augmentation" in words
    assert "(at most 5 recordings, the first 20.5 s of each)" in words
    words = protocol_words(recipe, is_best=False)
    assert words.endswith("8 per step. These weights are the last.")


def test_long_curves_keep_their_ends_and_the_best():
    points = curve(*range(100, 10_100, 100))
    steps = [point.step for point in thinned(points, 4900, 5)]
    assert steps == [100, 2600, 4900, 5100, 7500, 10_000]
    assert [p.step for p in thinned(points[:3], 200, 5)] == [100, 200, 300]
    assert thinned([], 200, 5) == []
