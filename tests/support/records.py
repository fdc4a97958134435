"""Invented specs and records for tests."""

from typing import Any

from bench.core.backend import Backend
from bench.core.machine import Machine
from bench.core.records import (
    CurvePoint,
    Latency,
    MetricInfo,
    Outcome,
    Record,
    SpeedRecord,
    YardstickRecord,
)
from bench.core.spec import (
    SPEED_PROTOCOL,
    Implementation,
    Named,
    Part,
    Sized,
    Spec,
    SpeedSpec,
    Subject,
    Training,
    Yardstick,
)
from bench.core.timings import Speed, Streaming, Times, Work, pooled

BACKEND = Backend(device="cpu")
MACHINE = Machine(
    cpu="Abacus 3000",
    cores=2,
    memory_bytes=2**34,
    gpu=None,
    system="Linux x86_64",
    python="3.11.0",
    torch="2.13.0",
    numpy="2.0.0",
    commit="0123456789ab",
)
SCORE = MetricInfo(name="recall", unit="share of symbols", higher_is_better=True, chance=0.125)
LOSS = MetricInfo(name="cross_entropy", unit="nats", higher_is_better=False, chance=0.5)


def spec(
    *,
    task: str = "copy_memory",
    model: str = "tcn",
    length: int = 10,
    seed: int = 0,
    **training: Any,
) -> Spec:
    settings = {"learning_rate": 0.001, "max_steps": 100, **training}
    return Spec(
        task=Part(name=task, fields={"length": length}, version=1),
        model=Part(name=model, fields={}, version=1),
        param_budget=12_500,
        width=10,
        extra_width=0,
        training=Training(**settings),
        seed=seed,
    )


def outcome(score: float = 1.0, *, steps: int = 100, label: str = "tcn", **changes: Any) -> Outcome:
    curve = tuple(
        CurvePoint(
            step=step,
            seconds=step / 10,
            train_loss=0.1 if step else None,
            validation_loss=0.1,
            values={"recall": value, "cross_entropy": 0.1},
        )
        for step, value in ((0, 0.125), (steps, score))
    )
    return Outcome.model_validate(
        {
            "label": label,
            "task_label": "copy_memory",
            "num_parameters": 12_400,
            "receptive_field": 99,
            "num_steps": 30,
            "solved_at": 0.95,
            "metrics": (SCORE, LOSS),
            "curve": curve,
            "stopped": "solved" if score >= 0.95 else "budget",
            "steps": steps,
            "best_step": steps,
            "test": {"recall": score, "cross_entropy": 0.1},
            "num_test": 2000,
            "train_seconds": 9.0,
            "total_seconds": 10.0,
            "peak_memory_bytes": None,
            "latency": Latency(sequence_ms=2.0, step_us=100.0),
            **changes,
        }
    )


def cost_outcome(cost: float, *, steps: int = 100, label: str = "tcn", **changes: Any) -> Outcome:
    """An outcome scored by cross-entropy: lower is better, chance is 0.5, solved at 0.2."""
    curve = tuple(
        CurvePoint(
            step=step,
            seconds=step / 10,
            train_loss=value if step else None,
            validation_loss=value,
            values={"recall": 0.5, "cross_entropy": value},
        )
        for step, value in ((0, 0.5), (steps // 2, (0.5 + cost) / 2), (steps, cost))
    )
    what = {"metrics": (LOSS, SCORE), "test": {"recall": 0.5, "cross_entropy": cost}}
    what |= {"solved_at": 0.2, "stopped": "budget", "curve": curve}
    return outcome(0.5, steps=steps, label=label, **{**what, **changes})


def record(of: Spec, score: float | None = 1.0, **changes: Any) -> Record:
    """An `ok` record with this score; a failed record if the score is None."""
    content: dict[str, Any] = {
        "spec": of,
        "backend": BACKEND,
        "machine": MACHINE,
        "status": "ok",
        "outcome": None if score is None else outcome(score, label=of.model.name),
        "created": "2026-01-02T03:04:05Z",
    }
    if score is None:
        content |= {"status": "failed", "error": "RuntimeError: out of luck (task.py:1)"}
    return Record.model_validate({**content, **changes})


def times(*ms: float) -> Times:
    return Times(samples=tuple(1e-3 * sample for sample in ms))


def of_processes(*ms: float) -> Times:
    """Times with these medians, one per process."""
    return pooled([times(each) for each in ms])


def speed_record(
    model: str = "tcn",
    length: int = 10,
    *,
    batch_size: int = 1,
    train_ms: float | None = None,
    step_ms: float | None = None,
    call_ms: float | None = None,
    receptive_field: int | None = None,
    implementation: Implementation = "fastest",
    protocol: int = SPEED_PROTOCOL,
    machine: Machine = MACHINE,
    **changes: Any,
) -> SpeedRecord:
    """A speed record with these times; a time of None was not requested."""
    of = spec(model=model, length=length)
    subject = {field: getattr(of, field) for field in Subject.model_fields}
    measures = (["train", "forward"] if train_ms else []) + (["step"] if step_ms else [])
    streaming = None
    if step_ms:
        window = times(100 * step_ms) if receptive_field else None
        streaming = Streaming(
            step=Work(times=times(0.9 * step_ms, step_ms, 1.5 * step_ms), flops=1000),
            call=times(call_ms) if call_ms else None,
            stepper="CompiledStepper",
            state_bytes=400,
            plain_step=times(5 * step_ms),
            prefill=times(10 * step_ms),
            window=window,
            window_last=window,
        )
    whole = Work(times=times(train_ms), flops=10**6, memory_bytes=10**7) if train_ms else None
    speed = Speed(
        label=model,
        task_label="copy_memory",
        num_parameters=12_400,
        receptive_field=receptive_field,
        num_steps=length + 20,
        peak_flops=1e9,
        train=whole,
        forward=whole,
        streaming=streaming,
    )
    return SpeedRecord(
        spec=SpeedSpec(
            **subject,
            batch_size=batch_size,
            measures=tuple(measures),  # pyright: ignore
            implementation=implementation,
            protocol=protocol,
        ),
        backend=BACKEND,
        machine=machine,
        created="2026-01-02T03:04:05Z",
        **{"status": "ok", "speed": speed, **changes},
    )


def yardstick_record(ours_us: float = 2.0, theirs_us: float = 5.0) -> YardstickRecord:
    yardstick = Yardstick(
        name="step of a snail",
        kind="cell",
        what="made up",
        at_least=2.0,
        task=Named(name="copy_memory"),
        model=Sized(name="tcn", width=10),
    )
    return YardstickRecord(
        yardstick=yardstick,
        backend=BACKEND,
        machine=MACHINE,
        status="ok",
        times={
            "our stepper": times(1e-3 * ours_us, 1e-3 * ours_us),
            "theirs": times(1e-3 * theirs_us, 1e-3 * theirs_us),
            "another": times(4e-3 * ours_us, 4e-3 * ours_us),
        },
        created="2026-01-02T03:04:05Z",
    )
