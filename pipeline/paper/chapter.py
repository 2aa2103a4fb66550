"""The study's chapter of the report: tables 1-3, figures 1-3, what lies beside them, and the claims."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.evaluation.configurations import of_shared_length
from pipeline.evaluation.frame import Results
from pipeline.evaluation.runs import Run
from pipeline.evaluation.vscores import VScores
from pipeline.paper.cells import ALPHA
from pipeline.paper.claims import CLAIMS, accuracy_claims, claims_table
from pipeline.paper.extra import extra_tables
from pipeline.paper.feature_claims import feature_claims
from pipeline.paper.published import RESNETS, TABLE1, TABLE2, TABLE3
from pipeline.paper.tables import paper_tables
from pipeline.report.chart_data import vscore_bars
from pipeline.report.feature_charts import vscore_charts
from pipeline.report.render import Chart
from pipeline.report.tables import Table

# The study's figures 1 and 2, one for each of its groups of classes.
TSNE_FIGURES = {"similar": "figure1", "different": "figure2"}
VSCORE_FIGURE = "figure3"


def study_tables(results: Results, vscores: Sequence[VScores], setting: str) -> list[Table]:
    """Tables 1-3, the tables beside them, the claims; `setting` goes into the captions."""
    claims = accuracy_claims(results) + feature_claims(results, vscores)
    return [
        *paper_tables(results, setting),
        *extra_tables(results, setting),
        claims_table(claims, setting),
    ]


def terminal_table(table: Table) -> Table | None:
    """What a terminal shows of a table: tables 1 to 3 without published numbers, answers to claims."""
    units = "Top-1 accuracy in percent, mean ± sample deviation; * marks the best. The published numbers "
    if table.name == CLAIMS:
        rows = tuple((row[0], row[2], row[1]) for row in table.rows)
        return replace(table, header=("Claim", "Answer", "Text"), rows=rows, labels=3, prose=(2,))
    if table.name in (TABLE1, TABLE2, TABLE3):
        return replace(table, caption=f"{units}are in the report and in tables/{table.name}.csv.")
    return None


def figure_runs(runs: Sequence[Run]) -> list[Run]:
    """The networks of figures 1-3 that were run: resnet20 to resnet110, without and with mixup."""
    chosen = [
        run
        for run in of_shared_length(runs)
        if run.section != "students"
        and run.network in RESNETS
        and (run.share == 0 or (run.share == 1 and run.mixup_alpha == ALPHA))
    ]
    return sorted(chosen, key=lambda run: RESNETS.index(run.network))


def study_vscores(vscores: Sequence[VScores]) -> list[Chart]:
    """Figure 3, of the raw features."""
    wanted = figure_runs([one.run for one in vscores])
    order = {(run.section, run.name): index for index, run in enumerate(wanted)}
    chosen = [one for one in vscores if (one.run.section, one.run.name) in order]
    chosen.sort(key=lambda one: order[one.run.section, one.run.name])
    return vscore_charts(vscore_bars(chosen, normalised=False), VSCORE_FIGURE)
