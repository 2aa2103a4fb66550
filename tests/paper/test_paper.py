"""The study's tables and claims from results that equal its published numbers, cell by cell."""

import csv
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner
from report_samples import (
    DATASET,
    EVALUATION,
    cache_features,
    folder_bytes,
    gather,
    sample_data,
    sample_run,
    teacher_facts,
    write_run,
)
from ruamel.yaml import YAML

from pipeline.core.dataset import save_prepared
from pipeline.evaluate import add_study
from pipeline.evaluation.configurations import configuration, of_shared_length
from pipeline.evaluation.frame import Results, by_run, results_frame
from pipeline.evaluation.vscores import VScores
from pipeline.paper.cells import published_of
from pipeline.paper.chapter import figure_runs
from pipeline.paper.claims import accuracy_claims
from pipeline.paper.extra import extra_tables
from pipeline.paper.feature_claims import feature_claims
from pipeline.paper.published import (
    BASELINE,
    BEST_KNOWN,
    RESNETS,
    TABLE1,
    TABLE2,
    TABLE3,
    check_dataset,
    read_table,
    table_pairs,
)
from pipeline.paper.tables import NOT_RUN, paper_tables
from pipeline.report.folder import Report
from pipeline.report.tables import Table, to_csv, to_latex, to_markdown, write_table
from pipeline.results.record import ViewFacts
from stages.evaluate import evaluate

KD = {"name": "my-kd", "loss": "kd", "temperature": 4.0, "gamma": 0.1, "alpha": 0.9}
SOFT = {"name": "soft", "loss": "kd_soft_only", "temperature": 4.0}
RESCALED = {"name": "ours", "loss": "rescaled", "gamma": 0.1, "alpha": 0.9}
SHARES = {
    "rescaled_no_mixup": 0.0,
    "rescaled_pmu10": 0.1,
    "rescaled_pmu50": 0.5,
    "rescaled_fmu": 1.0,
}
MIXUPS = {"mix_s_alpha_0.2": 0.2, "mix_s_alpha_1.0": 1.0}


def alone(network, percent, alpha=None, section="baselines"):
    mixup = None if alpha is None else {"alpha": alpha, "share": 1.0}
    return sample_run(section, network, three(percent), mixup=mixup)


def student(teacher, network, method, percent, share=0.0, alpha=None):
    facts = teacher_facts(teacher, teacher, alpha)
    return sample_run(
        "students", network, three(percent), teacher=facts, method=method, share=share
    )


def three(percent):
    """Three replicates whose mean is the given percentage, and whose deviation is 0.1 points."""
    return ((percent - 0.1) / 100, percent / 100, (percent + 0.1) / 100)


def square_runs():
    """Runs that equal tables 1 and 2: the baselines are the same networks in both."""
    runs = [alone(column, value) for column, value in read_table(TABLE1)[BASELINE,].items()]
    for name, method in ((TABLE1, KD), (TABLE2, SOFT)):
        for (row,), numbers in read_table(name).items():
            if row != BASELINE:
                runs += [student(row, column, method, value) for column, value in numbers.items()]
    return runs


def mixup_runs():
    """Runs that equal table 3: networks that several rows share are there once."""
    found = {}
    for (teacher, network), numbers in read_table(TABLE3).items():
        found["teacher", teacher] = alone(teacher, numbers["teacher_acc"], section="teachers")
        found["alone", network] = alone(network, numbers["student_acc"])
        for column, alpha in MIXUPS.items():
            found[column, network] = alone(network, numbers[column], alpha)
        found["kd", teacher, network] = student(teacher, network, KD, numbers["kd"])
        for column, share in SHARES.items():
            run = student(teacher, network, RESCALED, numbers[column], share)
            found[column, teacher, network] = run
    return list(found.values())


@pytest.fixture(scope="module")
def square():
    return gather(square_runs())


@pytest.fixture(scope="module")
def mixup():
    return gather(mixup_runs())


def grid(table, labels):
    """Row key -> column title -> cell, of a table for readers."""
    return {
        tuple(cell.text for cell in row[:labels]): dict(
            zip(table.header[labels:], row[labels:], strict=True)
        )
        for row in table.rows
    }


def shown(percent):
    return f"{percent:.2f} ± 0.10", f"{percent:.2f}, 0.00"


@pytest.mark.parametrize(("index", "name"), [(0, TABLE1), (1, TABLE2)])
def test_square_tables_have_every_cell_in_its_place(square, index, name):
    table = paper_tables(square, "Setting.")[index]
    published = read_table(name)
    found = grid(table, 1)
    assert len(found) == 6
    assert list(table.header[1:]) == list(RESNETS)
    for (row,), numbers in published.items():
        cells = found["baseline" if row == BASELINE else row,]
        assert len(cells) == 5
        for column, value in numbers.items():
            assert (cells[column].text, cells[column].small) == shown(value)
            highest = max(others[column] for (key,), others in published.items() if key != BASELINE)
            assert cells[column].bold == (row != BASELINE and value == highest)
            assert not cells[column].underline
    assert sum(cell.bold for cells in found.values() for cell in cells.values()) == 5


def test_table_3_has_every_cell_in_its_place(mixup):
    table = paper_tables(mixup, "Setting.")[2]
    published = read_table(TABLE3)
    found = grid(table, 2)
    assert list(found) == table_pairs()
    assert len(found) == 13
    columns = ["teacher_acc", "student_acc", *MIXUPS, "kd", *SHARES]
    for pair, numbers in published.items():
        cells = list(found[pair].values())
        assert len(cells) == 9
        highest = max(numbers[column] for column in ("kd", *SHARES))
        higher = max(numbers[column] for column in MIXUPS)
        for column, cell in zip(columns, cells, strict=True):
            assert (cell.text, cell.small) == shown(numbers[column]), (pair, column)
            assert cell.bold == (column in ("kd", *SHARES) and numbers[column] == highest)
            assert cell.underline == (column in MIXUPS and numbers[column] == higher)


def test_one_network_faces_the_number_of_each_table():
    """resnet56 -> resnet20 by KD is published as 70.98 and as 70.66."""
    runs = [student("resnet56", "resnet20", KD, 71.00), alone("resnet20", 69.00)]
    tables = paper_tables(gather(runs), "Setting.")
    first, third = grid(tables[0], 1), grid(tables[2], 2)["resnet56", "resnet20"]
    assert first["resnet56",]["resnet20"].small == "70.98, +0.02"
    assert third["KD"].small == "70.66, +0.34"
    assert first["baseline",]["resnet20"].small == "68.90, +0.10"
    assert third["Student baseline"].small == "69.06, -0.06"


def test_cells_without_runs_say_so_and_hold_no_number():
    runs = [run for run in square_runs() if run.network != "resnet44"]
    tables = paper_tables(gather(runs), "Setting.")
    for name, table in zip((TABLE1, TABLE2), tables, strict=False):
        for row, cells in grid(table, 1).items():
            for column, cell in cells.items():
                assert (cell.text == NOT_RUN) == (column == "resnet44"), (name, row, column)
        rows = list(csv.DictReader(to_csv(table.data).splitlines()))
        assert {row["resnet44"] for row in rows} == {NOT_RUN}
        for column in ("resnet44_deviation", "resnet44_difference"):
            assert {row[column] for row in rows} == {""}
    cell = grid(tables[0], 1)["resnet110",]["resnet44"]
    assert (cell.text, cell.small, cell.bold) == (NOT_RUN, "", False)


def test_without_any_run_all_cells_are_not_run():
    for table in paper_tables(gather([]), "Setting."):
        labels = table.labels
        texts = {cell.text for row in table.rows for cell in row[labels:]}
        assert texts == {NOT_RUN}
        assert to_latex(table).count(NOT_RUN) == to_markdown(table).count(NOT_RUN) > 0


def test_machines_read_mean_deviation_published_and_difference(square):
    rows = list(csv.DictReader(to_csv(paper_tables(square, "")[0].data).splitlines()))
    row = next(row for row in rows if row["teacher"] == "resnet110")
    assert float(row["resnet110"]) == pytest.approx(76.08)
    assert float(row["resnet110_deviation"]) == pytest.approx(0.1)
    assert row["resnet110_replicates"] == "3"
    assert float(row["resnet110_published"]) == 76.08
    assert float(row["resnet110_difference"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("index", "name"), [(0, TABLE1), (1, TABLE2), (2, TABLE3)])
def test_written_tables_have_every_cell_too(square, mixup, tmp_path, index, name):
    """CSV, Markdown and LaTeX: the same cells in the same places, the best ones marked in the same."""
    table = paper_tables(mixup if name == TABLE3 else square, "Setting.")[index]
    write_table(table, tmp_path)
    published = read_table(name)
    rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
    markdown = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (tmp_path / f"{name}.md").read_text().splitlines()
        if line.startswith("|")
    ][2:]
    latex = [
        line.removesuffix(" \\\\").split(" & ")
        for line in (tmp_path / f"{name}.tex").read_text().splitlines()
        if " & " in line
    ][1:]
    assert len(rows) == len(markdown) == len(latex) == len(published)
    for row, seen, typeset, shown_row, (key, numbers) in zip(
        rows, markdown, latex, table.rows, published.items(), strict=True
    ):
        assert tuple(list(row.values())[: len(key)]) == key
        assert len(seen) == len(typeset) == len(key) + len(numbers)
        for j, (column, value) in enumerate(numbers.items(), start=len(key)):
            assert float(row[column]) == pytest.approx(value, abs=1e-6)
            assert float(row[f"{column}_published"]) == value
            for text, mark in ((seen[j], "**"), (typeset[j], "\\textbf")):
                assert f"{value:.2f}" in text
                assert (mark in text) == shown_row[j].bold
            assert ("<u>" in seen[j]) == ("\\underline" in typeset[j]) == shown_row[j].underline


@pytest.mark.parametrize(
    "change",
    [
        {"method": {**KD, "temperature": 2.0}},
        {"method": {**KD, "loss": "mse"}},
        {"share": 0.5},
        {"teacher": teacher_facts("resnet110", "resnet110", 1.0)},
    ],
)
def test_a_cell_is_found_by_facts(change):
    """The same name and networks, but another temperature, loss, share or teacher: another cell."""
    facts = {"teacher": teacher_facts("resnet110", "resnet110"), "method": KD, "share": 0.0}
    right = sample_run("students", "resnet20", (0.7,), **facts)
    wrong = sample_run("students", "resnet20", (0.7,), **{**facts, **change})
    for run, text in ((right, "70.00"), (wrong, NOT_RUN)):
        cells = grid(paper_tables(gather([run]), "")[0], 1)["resnet110",]
        assert cells["resnet20"].text == text


def test_another_alpha_of_the_views_is_another_cell():
    run = student("resnet56", "resnet20", RESCALED, 70.0, 0.5)
    views = {"mixed": ViewFacts(views=8, draw="stratified", alpha=0.4)}
    teacher = replace(run.record.teacher, views=views)
    other = replace(run, record=replace(run.record, teacher=teacher))
    assert configuration(run).mixup_alpha == 1.0
    for one, text in ((run, "70.00 ± 0.10"), (other, NOT_RUN)):
        cells = grid(paper_tables(gather([one]), "")[2], 2)["resnet56", "resnet20"]
        assert cells["Rescaled, PMU 50 %"].text == text


def test_doubles_are_named_not_mixed_in():
    runs = [alone("resnet20", 68.0), alone("resnet20", 70.0)]
    runs[1] = replace(runs[1], name="another")
    table = paper_tables(gather(runs), "")[0]
    assert grid(table, 1)["baseline",]["resnet20"].text.startswith("68.00")
    assert "baselines.another" in table.caption


def test_a_teacher_stands_in_for_a_network_alone_but_comes_after_it():
    teacher = alone("resnet110", 74.0, section="teachers")
    assert grid(paper_tables(gather([teacher]), "")[0], 1)["baseline",][
        "resnet110"
    ].text.startswith("74.00")
    both = gather([teacher, alone("resnet110", 75.0)])
    tables = paper_tables(both, "")
    assert grid(tables[0], 1)["baseline",]["resnet110"].text.startswith("75.00")
    assert grid(tables[2], 2)["resnet110", "resnet20"]["Teacher's"].text.startswith("74.00")
    assert both.note == ""


def test_claims_are_answered_as_the_published_tables_answer_them(square, mixup):
    by_number = {claim.number: claim for claim in accuracy_claims(square)}
    assert by_number["1"].answer == "yes"
    assert "5 of 5 by KD" in by_number["1"].numbers
    assert "4 of 5 by soft labels" in by_number["1"].numbers
    assert by_number["2"].answer == "yes"
    assert by_number["2"].numbers.startswith("3 of 5 ")
    assert by_number["3"].answer == "yes"
    assert "resnet32 → resnet44" in by_number["3"].numbers
    assert "resnet44 → resnet56" in by_number["3"].numbers
    assert by_number["4"].answer == "yes"
    assert by_number["4"].numbers.startswith("25 of 25 pairs")
    assert by_number["5"].answer == "not enough runs"
    fifth = accuracy_claims(mixup)[4]
    assert fifth.answer == "yes"
    assert fifth.numbers.startswith("holds for 11 of 13")
    assert fifth.numbers.endswith("exceptions: wrn_40_2 → wrn_40_1, resnet32x4 → resnet8x4")


def test_claim_4_is_the_mean_difference_of_the_tables(square):
    first, second = read_table(TABLE1), read_table(TABLE2)
    differences = [
        second[row][column] - value
        for row, numbers in first.items()
        if row != (BASELINE,)
        for column, value in numbers.items()
    ]
    assert len(differences) == 25
    middle = math.fsum(differences) / 25
    assert f"mean difference {middle:.2f} points" in accuracy_claims(square)[3].numbers


def test_claims_can_be_denied():
    """Students above all baselines, the best teacher best, soft labels far below."""
    runs = [alone(network, 60.0 + 2 * i) for i, network in enumerate(RESNETS)]
    for i, teacher in enumerate(RESNETS):
        for network in RESNETS:
            runs.append(student(teacher, network, KD, 80.0 + i))
            runs.append(student(teacher, network, SOFT, 70.0 + i))
    answers = {claim.number: claim.answer for claim in accuracy_claims(gather(runs))}
    assert answers == {"1": "no", "2": "no", "3": "yes", "4": "no", "5": "not enough runs"}
    weak = [run for run in runs if run.section == "baselines"]
    weak += [student(teacher, network, KD, 50.0) for teacher in RESNETS for network in RESNETS]
    assert accuracy_claims(gather(weak))[2].answer == "no"


def test_claims_without_runs_are_not_answered(square):
    assert {claim.answer for claim in accuracy_claims(gather([]))} == {"not enough runs"}
    assert {claim.answer for claim in feature_claims(gather([]), [])} == {"not enough runs"}
    few = [run for run in square_runs() if run.network in ("resnet20", "resnet32")]
    answers = {claim.number: claim.answer for claim in accuracy_claims(gather(few))}
    assert answers["1"] == answers["2"] == answers["3"] == "not enough runs"


def v_score(run, group, split, value):
    return VScores(run, group, split, False, (value,), (value,), (value,))


def feature_results(plain, mixed, gain):
    """V-scores and KD students of resnet20, 32, 44, 56, 110 with and without mixup."""
    runs, scores = [], []
    for i, network in enumerate(RESNETS):
        pair = [alone(network, 70.0, section="teachers"), alone(network, 72.0, 1.0, "teachers")]
        runs += pair
        runs.append(student(network, "resnet20", KD, 69.0))
        runs.append(student(network, "resnet20", KD, 69.0 + gain, alpha=1.0))
        for run, value in zip(pair, (plain, mixed + i / 100), strict=True):
            scores.append(v_score(run, "similar", "train", value))
            scores.append(v_score(run, "different", "test", 1 - value))
    return gather(runs), scores


def test_claim_6_needs_lower_v_scores_and_no_gain():
    expected = [(0.9, 0.5, -0.5, "yes"), (0.9, 0.5, 0.5, "no"), (0.5, 0.9, -0.5, "no")]
    for plain, mixed, gain, answer in expected:
        results, scores = feature_results(plain, mixed, gain)
        sixth, by_size, different = feature_claims(results, scores)
        assert sixth.answer == answer, (plain, mixed, gain)
        assert f"students of teachers with mixup {gain:+.2f} points over 5 pairs" in sixth.numbers
        assert "their teachers +2.00" in sixth.numbers
        assert by_size.answer == "yes"
        assert different.answer == ("yes" if plain > mixed else "no")
    results, scores = feature_results(0.9, 0.5, -0.5)
    only_scores = feature_claims(gather([]), scores)
    assert [claim.answer for claim in only_scores] == ["not enough runs", "yes", "yes"]


def test_students_of_mixup_teachers_stand_beside_their_twins():
    results, _ = feature_results(0.9, 0.5, -0.5)
    tables = {table.name: table for table in extra_tables(results, "")}
    assert set(tables) == {"teachers", "mixup_teachers"}
    rows = [[cell.text for cell in row] for row in tables["mixup_teachers"].rows]
    assert rows[0] == [
        "resnet20 → resnet20",
        "my-kd",
        "70.00 ± 0.10",
        "72.00 ± 0.10",
        "69.00 ± 0.10",
        "68.50 ± 0.10",
        "-0.50",
    ]
    assert len(rows) == 5


def test_the_code_s_shares_stand_beside_the_exact_ones():
    runs = [
        student("resnet56", "resnet20", RESCALED, value, share)
        for value, share in ((72.00, 0.1), (72.50, 0.408), (71.00, 0.5), (71.79, 0.604))
    ]
    (table,) = extra_tables(gather(runs), "")
    assert table.name == "table3_as_coded"
    (row,) = table.rows
    assert [cell.text for cell in row[2:]] == [
        "72.00 ± 0.10",
        "72.50 ± 0.10",
        "exact",
        "71.00 ± 0.10",
        "71.79 ± 0.10",
        "as coded",
    ]
    assert row[2].small == "72.09, -0.09"


def test_later_methods_stand_beside_their_own_papers():
    zscore = {"name": "ls", "loss": "zscore", "temperature": 2.0, "gamma": 0.1, "alpha": 9.0}
    runs = [
        student("wrn_40_2", "wrn_16_2", zscore, 76.20),
        student("wrn_40_2", "wrn_16_2", zscore, 77.0, 0.5),
        student("wrn_40_2", "wrn_16_2", KD, 75.0),
    ]
    tables = {table.name: table for table in extra_tables(gather(runs), "")}
    assert set(tables) == {"later_zscore"}
    cells = grid(tables["later_zscore"], 2)["wrn_40_2", "wrn_16_2"]
    number = read_table(BEST_KNOWN)["wrn_40_2", "wrn_16_2"]["kd_ls"]
    assert cells["0 % mixed"].small == f"{number:.2f}, +{76.20 - number:.2f}"
    assert cells["KD"].small == "74.92, +0.08"
    assert (cells["50 % mixed"].text, cells["50 % mixed"].small) == ("77.00 ± 0.10", "")
    assert cells["10 % mixed"].text == NOT_RUN
    assert "temperature 2" in tables["later_zscore"].caption


def test_another_mixup_stands_in_no_cell_of_a_later_method():
    dkd = {"name": "dkd", "loss": "dkd", "beta": 2.0}
    runs = [student("resnet56", "resnet20", dkd, value, 0.5) for value in (71.0, 69.0)]
    views = {"mixed": ViewFacts(views=8, draw="stratified", alpha=0.2)}
    teacher = replace(runs[1].record.teacher, views=views)
    runs[1] = replace(runs[1], record=replace(runs[1].record, teacher=teacher))
    (table,) = extra_tables(gather(runs), "")
    assert grid(table, 2)["resnet56", "resnet20"]["50 % mixed"].text == "71.00 ± 0.10"


def two_lengths(*chosen):
    """Networks of one pair at the shared length and at one of their own; the teacher is imported."""
    pair, own = ("resnet56", "resnet20"), {"training": {"epochs": 2}}
    facts = {"teacher": teacher_facts("resnet56", "resnet56"), "method": KD}
    weights = {"path": "resnet56.safetensors", "sha256": "b" * 64}
    runs = [
        sample_run("teachers", pair[0], three(72.6), name="resnet56", weights=weights),
        sample_run("baselines", pair[1], three(66.0), name="short", **own),
        sample_run("baselines", pair[1], three(69.0), name="alone"),
        sample_run("students", pair[1], three(68.0), name="kd-short", **facts, **own),
        sample_run("students", pair[1], three(71.0), name="kd", **facts),
    ]
    return [run for run in runs if not chosen or run.name in chosen]


@pytest.mark.parametrize("short_alone", [False, True])
def test_a_network_of_another_length_stands_beside_no_published_number(tmp_path, short_alone):
    runs = two_lengths("resnet56", "short", "kd-short") if short_alone else two_lengths()
    study = of_shared_length(runs)
    assert [run.name for run in study] == ["resnet56", *([] if short_alone else ["alone", "kd"])]
    frame, report = results_frame(runs), Report(tmp_path)
    places = [runs.index(run) for run in study]
    add_study(report, runs, study, Results(frame.loc[places]), [], "Setting.")
    text = report.blocks[1].text
    assert text.startswith("Not here, being trained for a length of their own: ")
    assert "short" in text
    assert "alone" not in text
    tables = {block.name: block for block in report.blocks if isinstance(block, Table)}
    cells = grid(tables[TABLE3], 2)["resnet56", "resnet20"]
    shown_texts = [cells[name].text for name in ("Teacher's", "Student baseline", "KD")]
    alone_and_kd = [NOT_RUN, NOT_RUN] if short_alone else ["69.00 ± 0.10", "71.00 ± 0.10"]
    assert shown_texts == ["72.60 ± 0.10", *alone_and_kd]
    assert grid(tables[TABLE1], 1)["baseline",]["resnet56"].text == NOT_RUN, "nobody trained it"
    assert "0 of 25 pairs" in tables["claims"].rows[3][3].text
    published = published_of(by_run(frame).loc[places])
    assert {runs[place].name for place in published} == {run.name for run in study}


def test_a_teacher_of_another_recipe_has_its_own_number_and_no_published_one():
    runs = [
        alone("resnet56", 72.0, section="teachers"),
        sample_run("teachers", "resnet56", three(70.0), training={"precision": "bfloat16"}),
    ]
    (table,) = extra_tables(gather(runs), "")
    rows = [(row[0].text, row[2].text, row[2].small) for row in table.rows]
    assert rows == [
        ("resnet56", "72.00 ± 0.10", "72.34, -0.34"),
        ("resnet56, precision bfloat16", "70.00 ± 0.10", ""),
    ]


def test_a_later_method_may_be_tuned_to_the_pair():
    pairs = table_pairs()[:2]
    runs = [
        student(*pair, {"name": f"dkd-{beta}", "loss": "dkd", "beta": beta}, 76.0)
        for pair, beta in zip(pairs, (2.0, 6.0), strict=True)
    ]
    (table,) = extra_tables(gather(runs), "")
    cells = grid(table, 3)
    shown = [
        cells[*pair, by]["0 % mixed"].text
        for pair, by in zip(pairs, ("beta 2", "beta 6"), strict=True)
    ]
    assert shown == ["76.00 ± 0.10"] * 2
    assert len(cells) == 13
    assert "beta 2 or 6" in table.caption


def test_a_pair_with_several_settings_of_a_later_method_has_a_row_for_each():
    """DKD's beta differs by pair: none of the runs of a pair is left out."""
    pair, values = table_pairs()[2], {(2.0, 0.0): 71.5, (8.0, 0.0): 70.5, (8.0, 0.5): 70.0}
    runs = [
        student(*pair, {"name": f"dkd-{beta}", "loss": "dkd", "beta": beta}, value, share)
        for (beta, share), value in values.items()
    ]
    (table,) = extra_tables(gather(runs), "")
    cells = grid(table, 3)
    assert len(cells) == 14
    for beta in (2.0, 8.0):
        row = cells[*pair, f"beta {beta:g}"]
        for share, title in ((0.0, "0 % mixed"), (0.5, "50 % mixed"), (1.0, "100 % mixed")):
            value = values.get((beta, share))
            assert row[title].text == (NOT_RUN if value is None else f"{value:.2f} ± 0.10")
    rows = table.data.set_index(["teacher", "student"]).loc[[pair]]
    assert list(rows["options"]) == ["beta 2", "beta 8"]


@pytest.mark.parametrize("loss", ["kd", "dkd"])
def test_students_of_fewer_views_stand_in_no_cell(loss):
    """A cell is of the whole store; the same student of 40 views has a table of its own."""
    method = KD if loss == "kd" else {"name": "dkd", "loss": "dkd", "beta": 2.0}
    run = student("resnet56", "resnet20", method, 70.0)
    fewer = replace(run, record=replace(run.record, entry={**run.record.entry, "views": 40}))
    assert (configuration(run).views, configuration(fewer).views) == (None, 40)
    results = gather([fewer])
    assert results.note == gather([run, fewer]).note == ""
    assert grid(paper_tables(results, "")[0], 1)["resnet56",]["resnet20"].text == NOT_RUN
    assert extra_tables(results, "") == []


def test_published_tables_are_whole():
    assert [len(row) for row in read_table(TABLE1).values()] == [5] * 6
    assert [len(row) for row in read_table(TABLE2).values()] == [5] * 6
    assert [len(row) for row in read_table(TABLE3).values()] == [9] * 13
    assert list(read_table(BEST_KNOWN)) == table_pairs()


def test_figures_show_the_study_s_networks_in_its_order():
    runs = [
        alone("resnet110", 70.0),
        alone("wrn_40_2", 70.0),
        alone("resnet20", 70.0, 1.0),
        alone("resnet20", 70.0, 0.2),
        alone("resnet20", 70.0),
        student("resnet110", "resnet20", KD, 70.0),
    ]
    runs.append(sample_run("teachers", "resnet32", (0.7,), training={"epochs": 2}))
    found = [(run.network, run.mixup_alpha) for run in figure_runs(runs)]
    assert found == [("resnet20", 1.0), ("resnet20", None), ("resnet110", None)]


def test_published_numbers_are_for_cifar_100_only():
    check_dataset("cifar100")
    with pytest.raises(ValueError, match="data set is digits"):
        check_dataset("digits")


def test_the_stage_writes_the_study_s_chapter(tmp_path):
    data = replace(sample_data(), name="cifar100", notes={"image_size": 32, "seed": 0})
    save_prepared(data, tmp_path / "prepared")
    full = {"alpha": 1.0, "share": 1.0}
    content = {"machine": {"data_root": "data"}, "baselines": {}, "students": {}}
    content["dataset"] = DATASET | {"name": "cifar100", "image_size": 32, "test_fraction": None}
    content["teachers"] = {
        name: write_run(
            tmp_path, data, "teachers", name, network=network, mixup=mixup, accuracies=(0.7,)
        )
        for name, network, mixup in (
            ("a", "resnet20", None),
            ("b", "resnet20", full),
            ("c", "resnet32", None),
        )
    }
    facts = teacher_facts("a", "resnet20")
    content["students"]["s"] = write_run(
        tmp_path, data, "students", "s", network="resnet20", teacher=facts, method=KD
    )
    content["evaluation"] = {
        **EVALUATION,
        "paper_tables": True,
        "floors": {"teachers": None, "baselines": None, "students": None},
    }
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    cache_features(tmp_path, content)
    folders = ("prepared", "teachers", "baselines", "students", "features")
    arguments = [word for name in folders for word in (f"--{name}", str(tmp_path / name))]
    arguments += ["--params", str(tmp_path / "params.yaml"), "--out", str(tmp_path / "reports")]
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 0, result.output
    files = folder_bytes(tmp_path / "reports")
    names = (TABLE1, TABLE2, TABLE3, "claims", "teachers")
    assert {f"tables/{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")} <= set(
        files
    )
    assert {f"figures/figure{number}.png" for number in (1, 2, 3)} <= set(files)
    assert not any("tsne" in name for name in files)
    html = files["report.html"].decode()
    assert "not run" in html
    assert "68.88, " in html
    assert "4 epochs" in html
