"""The source of a report, and the frames that its sections share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from bench.core.records import Record, SampleRecord, SpeedRecord, YardstickRecord
from bench.core.spec import Spec
from bench.core.store import Damaged
from bench.plan.rates import Rates, Sweep
from bench.report import runs, times
from bench.report.claims import Verdict, verdicts
from bench.report.drawing import Style, styles
from bench.report.horizon import Horizon


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
    """Records of planned specs, all of one backend."""
    num_records: int = 0
    """Number of training records in the results folder; 0 if they were not counted."""
    unsupported: Sequence[tuple[str, str, str]] = ()
    """Task, model, reason."""
    damaged: Sequence[Damaged] = ()
    other_backends: Sequence[str] = ()
    speed: Sequence[SpeedRecord] = ()
    """Times of planned networks, from one machine and backend."""
    yardsticks: Sequence[YardstickRecord] = ()
    """Comparisons with other implementations, from the same machine."""
    studies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Spec id → the studies it belongs to; a spec that is not listed belongs to the main one."""
    sweep: Sweep | None = None
    """The runs that the learning rates were tuned with."""
    samples: Sequence[SampleRecord] = ()
    """Samples that the trained networks of these runs generated."""


class Data:
    """The frames of a report. Each is computed once, at its first use."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every planned run."""
        source = self.source
        return runs.runs_frame(source.specs, source.records, source.labels, source.thresholds)

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
    def horizons(self) -> list[tuple[dict[str, str], Horizon]]:
        return runs.horizons(self.whole)

    @cached_property
    def solved_at(self) -> dict[str, float]:
        """Task label → the score that counts as solved."""
        return runs.thresholds_of(self.runs)

    @cached_property
    def timed(self) -> pd.DataFrame:
        return times.timed_frame(self.source.speed)

    @cached_property
    def leading(self) -> pd.DataFrame:
        """The times that statements compare: those of the fastest implementations."""
        return times.leading(self.timed)

    @cached_property
    def step_us(self) -> dict[str, float]:
        """Spec id → microseconds of a step of one stream, where it was timed."""
        return times.step_times(self.source.specs, self.leading)

    @cached_property
    def headlines(self) -> list[str]:
        """Sentences on what training and a step cost."""
        return times.headlines(times.plain(self.leading), self.device)

    @property
    def timed_backend(self) -> str | None:
        return self.source.speed[0].backend.name if self.source.speed else None

    @property
    def device(self) -> str:
        """How a sentence names what made the times."""
        return self.timed_backend or "one machine"

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
        return verdicts(self.runs, self.timed, backend=self.timed_backend)
