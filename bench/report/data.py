"""The source of a report, and the frames that its sections share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from bench.core.backend import Backend
from bench.core.records import Record, SampleRecord, SpeedRecord, YardstickRecord
from bench.core.spec import Spec
from bench.core.store import Damaged
from bench.plan.grid import task_of
from bench.plan.ladder import Ladder, Rung, climb, results_of
from bench.plan.rates import Rates, Sweep
from bench.report import runs, times
from bench.report.claims import Verdict, verdicts
from bench.report.claims.cells import Cell, cells_of
from bench.report.drawing import Style, styles
from bench.report.horizon import Horizon
from tasks import names as task_names


@dataclass(frozen=True, kw_only=True)
class Source:
    """The plan, the records and the settings that one report covers."""

    profile_name: str
    profile_description: str
    caveat: str = ""
    """A warning of the profile, shown before everything else."""
    specs: Sequence[Spec]
    labels: runs.Labels
    thresholds: runs.Thresholds
    records: Sequence[Record]
    """Records of planned specs, one of each."""
    backend: Backend | None = None
    """Where the times of runs were taken; those of other backends are left out. None: all count."""
    num_records: int = 0
    """Number of training records in the results folder; 0 if they were not counted."""
    unsupported: Sequence[tuple[str, str, str]] = ()
    """Task, model, reason."""
    damaged: Sequence[Damaged] = ()
    speed: Sequence[SpeedRecord] = ()
    """Times of planned networks, from one machine and backend."""
    yardsticks: Sequence[YardstickRecord] = ()
    """Comparisons with other implementations, from the same machine."""
    studies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Spec id → the studies it belongs to; a spec that is not listed belongs to the main one."""
    ladders: Sequence[Ladder] = ()
    """The lengths that models climb."""
    demonstration: bool = False
    """Whether the budgets of the profile are too small to decide the claims."""
    reference: Mapping[str, str] = field(default_factory=dict)
    """Key of a claim → the answer of the committed reference, shown beside that of these runs."""
    with_published_settings: Sequence[Record] = ()
    """Committed runs of any backend that stand beside published values if `records` has none."""
    sweep: Sweep | None = None
    """The runs that the learning rates were tuned with."""
    samples: Sequence[SampleRecord] = ()
    """Samples that the trained networks of these runs generated."""


class Data:
    """The frames of a report. Each is computed once, at its first use."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def every_run(self) -> pd.DataFrame:
        """Every planned run, also where a seed has several budgets."""
        source = self.source
        frame = runs.runs_frame(source.specs, source.records, source.labels, source.thresholds)
        not_climbed = {
            spec.id
            for rungs in self.climbs
            for rung in rungs
            if rung.state == "not climbed"
            for spec in rung.specs
        }
        left = (frame["status"] == "missing") & frame["id"].isin(not_climbed)
        on_ladder = frame["id"].isin({key for ladder in source.ladders for key in ladder.ids})
        frame = frame.assign(
            status=frame["status"].mask(left, runs.NOT_CLIMBED), on_ladder=on_ladder
        )
        if source.backend is not None:
            elsewhere = frame["backend"].notna() & (frame["backend"] != source.backend.name)
            frame[[*runs.TIMES]] = frame[[*runs.TIMES]].mask(elsewhere)
        return frame

    @cached_property
    def climbs(self) -> list[tuple[Rung, ...]]:
        """What is known of each length of each ladder."""
        results = results_of(self.source.records, self.source.thresholds)
        return [climb(ladder, results) for ladder in self.source.ladders]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One planned run per seed: of several budgets the largest that was run."""
        return runs.standing(self.every_run)

    @cached_property
    def records(self) -> list[Record]:
        """The records of these runs."""
        return self.records_of(self.runs)

    def within(self, study: str) -> pd.Series:
        """Whether each run belongs to the study."""
        studies = self.source.studies
        return self.runs["id"].map(lambda spec_id: study in studies.get(str(spec_id), ("main",)))

    @cached_property
    def main(self) -> pd.DataFrame:
        """The runs of the comparison itself."""
        return self.runs[self.within("main")]

    @cached_property
    def whole(self) -> pd.DataFrame:
        """The runs of networks whose receptive field is not shortened on purpose."""
        return self.runs[~self.within("receptive_field")]

    def records_of(self, frame: pd.DataFrame) -> list[Record]:
        """The records of these runs."""
        ids = set(frame["id"])
        return [record for record in self.source.records if record.spec.id in ids]

    @cached_property
    def scores(self) -> pd.DataFrame:
        return runs.scores(self.main)

    @cached_property
    def cells(self) -> list[Cell]:
        """What the seeds decide, of the networks with a whole field."""
        return cells_of(self.whole)

    @cached_property
    def horizons(self) -> list[tuple[dict[str, str], Horizon]]:
        return runs.horizons(self.whole)

    @cached_property
    def lengths(self) -> dict[str, tuple[int, ...]]:
        """Task label → every T at which it has runs that count, in ascending order."""
        made = runs.counted(self.whole)
        return {
            str(task): tuple(sorted(map(int, rows["T"].unique())))
            for task, rows in made.groupby("task_label")
        }

    @cached_property
    def horizons_at_equal_size(self) -> list[tuple[dict[str, str], Horizon]]:
        """The horizons of networks that have the size of the main comparison of their task.

        A larger network of one family does not show which family remembers further.
        """
        sizes = {
            task: set(rows["budget"].dropna()) for task, rows in self.main.groupby("task_label")
        }
        alike = [
            task not in sizes or pd.isna(budget) or budget in sizes[task]
            for task, budget in zip(self.whole["task_label"], self.whole["budget"], strict=True)
        ]
        return runs.horizons(self.whole[alike])

    @cached_property
    def solved_at(self) -> dict[str, float]:
        """Task label → the score that counts as solved."""
        return runs.thresholds_of(self.runs)

    @cached_property
    def length_is(self) -> dict[str, str]:
        """Task label → what T is on this task, for the axis of figures."""
        labels, known = self.source.labels, set(task_names())
        one = {labels[each.id].task_label: each for each in self.source.specs}
        return {
            task: task_of(each).length_is for task, each in one.items() if each.task.name in known
        }

    @cached_property
    def timed(self) -> pd.DataFrame:
        return times.timed_frame(self.source.speed)

    @cached_property
    def leading(self) -> pd.DataFrame:
        """The times that statements compare: those of the fastest implementations."""
        return times.leading(self.timed)

    @cached_property
    def step_us(self) -> dict[str, float]:
        """Spec id → microseconds of a step of one stream, where it is known."""
        timed = (record.spec for record in self.source.speed)
        return times.step_times(self.source.specs, self.leading, timed)

    @cached_property
    def state_bytes(self) -> dict[str, float]:
        """Spec id → bytes of the state of one stream, where they are known."""
        timed = (record.spec for record in self.source.speed)
        return times.state_sizes(self.source.specs, self.timed, timed)

    @cached_property
    def headlines(self) -> list[str]:
        """Sentences on what training and a step cost."""
        return times.headlines(times.plain(self.leading))

    @property
    def timed_backend(self) -> str | None:
        return self.source.speed[0].backend.name if self.source.speed else None

    @property
    def device(self) -> str:
        """How a sentence names what made the times."""
        return self.source.speed[0].backend.words if self.source.speed else "one machine"

    @property
    def rates(self) -> Rates:
        return self.source.sweep.rates if self.source.sweep else {}

    @cached_property
    def style(self) -> Style:
        """Colour, marker and dash of each model, the same in all figures."""
        names = pd.concat([frame[["model_label", "variant"]] for frame in (self.runs, self.timed)])
        plain = names["variant"] == ""
        return styles(names["model_label"][plain], names["model_label"][~plain])

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.runs, self.timed, self.rates, device=self.device)
