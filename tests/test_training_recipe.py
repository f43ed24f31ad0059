"""Recipes are checked key by key, changed by overrides, and read back as they were written."""

import pytest
import toy_training as toy

from amtcli.errors import ModelError, UsageError
from amtcli.training.components import build_components
from amtcli.training.recipe import (
    CosineQuartersSchedule,
    apply_overrides,
    differences,
    find_recipe,
    read_recipe,
    recipe_names,
    recipe_toml,
)


def test_an_unknown_key_is_named_with_its_table_and_file(tmp_path):
    text = toy.RECIPE.replace("batch_size = 8", "batch_size = 8\nbatchsize = 8")
    with pytest.raises(ModelError, match=r"toy\.toml: unknown key 'batchsize' in \[training\]"):
        toy.write_recipe(tmp_path, text=text)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"key 'seed' is missing in \[training\]"):
        toy.write_recipe(tmp_path, text=toy.RECIPE.replace("seed = 7\n", ""))


def test_an_unknown_table_is_named(tmp_path):
    with pytest.raises(ModelError, match="unknown key 'samplin' in its top level"):
        toy.write_recipe(tmp_path, text=toy.RECIPE + "\n[samplin]\n")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("training.batch_size=0", "batch_size must be at least 1"),
        ("training.accumulation=3", "accumulation must divide batch_size"),
        ("training.ema_decay=1.0", r"ema_decay must lie in \[0, 1\)"),
        ("validation.excerpt_s=inf", "excerpt_s must be finite"),
        ("training.seed=4294967296", "seed must lie between"),
        ("training.steps=many", "'steps' in .training. must be a whole number, not 'many'"),
        ("training.step=5", "unknown key 'step' in .training. .did you mean 'steps'"),
        ("optimiser.learning_rate=inf", r"learning_rate must be at most 1e\+30"),
        ("optimiser.epsilon=inf", r"epsilon must be at most 1e\+30"),
        ("optimiser.weight_decay=inf", r"weight_decay must be at most 1e\+30"),
        ("optimiser.clip_norm=inf", r"clip_norm must be at most 1e\+30"),
        ("sampling.overhang_samples=400", "overhang_samples must lie between"),
        ("optimiser.betas=[0.9, 1.0]", "betas must lie in"),
        ("optimiser.betas=0.9", "'betas' in .optimiser. must be a list of 2 numbers, not 0.9"),
        ("optimiser.kind=sgd", "'kind' in .optimiser. must be one of adam, adamw, muon, not 'sgd'"),
        ("window.fast=3", "'fast' in .window. must be a table, not 3"),
        (
            "validation.thresholds.onset=0.5",
            r"'onset' in \[validation\.thresholds\] must be a list of numbers, not 0\.5",
        ),
        ("schedule.kind=cosine", "'kind' in .schedule. must be one of constant, step_decay"),
        ("schedule.rise_share=1.0", "rise_share must lie between 0 and 1"),
        ("about.name=a b", "name may hold letters"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, override, problem):
    with pytest.raises(ModelError, match=problem):
        toy.write_recipe(tmp_path, override)


def test_overrides_are_toml_or_words(tmp_path):
    recipe = toy.write_recipe(
        tmp_path,
        "training.steps=100",
        "about.description=two words",
        "validation.thresholds.onset_threshold=[0.2, 0.4]",
    )
    assert recipe.training.steps == 100
    assert recipe.about.description == "two words"
    assert recipe.validation.thresholds == {"onset_threshold": (0.2, 0.4)}


@pytest.mark.parametrize("override", ["steps=1", "training.steps", "training.=1", ".a=1"])
def test_what_is_no_override_is_refused(override):
    with pytest.raises(UsageError, match=r"write table\.key=value"):
        apply_overrides({"training": {}}, [override])


def test_an_override_of_an_unknown_table_is_refused():
    with pytest.raises(UsageError, match=r"no table \[trainig\]"):
        apply_overrides({"training": {"steps": 1}}, ["trainig.steps=1"])


def test_a_recipe_reads_back_as_it_was_written(tmp_path):
    recipe = toy.write_recipe(tmp_path, "training.steps=100")
    recipe.path.write_bytes(recipe_toml(recipe))
    assert read_recipe(recipe.path) == recipe


def test_schedules_are_chosen_by_kind(tmp_path):
    before, rest = toy.RECIPE.split("[schedule]")
    table = 'kind = "cosine_quarters"\nwarmup_steps = 5\ncycle_steps = 10\ncycle_factor = 0.9\n'
    text = f"{before}[schedule]\n{table}\n[training]{rest.split('[training]')[1]}"
    recipe = toy.write_recipe(tmp_path, text=text)
    assert recipe.schedule == CosineQuartersSchedule("cosine_quarters", 5, 10, 0.9)


def test_only_what_changes_the_learning_is_a_difference(tmp_path):
    def text(*overrides):
        return recipe_toml(toy.write_recipe(tmp_path, *overrides)).decode()

    free = ("validation.every_steps=1", "about.name=b", "training.log_every_steps=1")
    assert differences(text(), text(*free)) == []
    changed = ("training.batch_size=16", "network.width=8")
    assert differences(text(), text(*changed)) == ["network.width", "training.batch_size"]
    assert differences(text(), text("training.steps=13")) == ["training.steps"]


def test_more_steps_are_no_difference_where_the_schedule_does_not_span_them(tmp_path):
    before, rest = toy.RECIPE.split("[schedule]")
    base = f'{before}[schedule]\nkind = "constant"\n\n[training]{rest.split("[training]")[1]}'
    one = recipe_toml(toy.write_recipe(tmp_path, text=base)).decode()
    more = recipe_toml(toy.write_recipe(tmp_path, "training.steps=13", text=base)).decode()
    assert differences(one, more) == []


def test_tables_that_do_not_go_together_are_refused_before_any_step():
    path = find_recipe("two-core")
    with pytest.raises(ModelError, match=r"hop_samples is 320 in \[front_end\] and 400 in \[dec"):
        build_components(read_recipe(path, ["front_end.hop_samples=320"]))
    hops = [f"{table}.hop_samples=320" for table in ("front_end", "decoder", "objective")]
    with pytest.raises(ModelError, match=r"\[window\] does not fit \[decoder\]: hop and padding"):
        build_components(read_recipe(path, hops))
    with pytest.raises(ModelError, match=r"\[front_end\]: index"):
        build_components(read_recipe(path, ["front_end.n_semitones=0"]))


def test_a_recipe_that_is_not_there_is_refused_with_those_that_ship(tmp_path):
    with pytest.raises(UsageError, match=r"no recipe .nosuch.*onsets-velocities"):
        find_recipe("nosuch")
    assert find_recipe("onsets-velocities").name == "onsets-velocities.toml"
    assert "onsets-velocities" in recipe_names()
