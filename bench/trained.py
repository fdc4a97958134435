"""The commands that use trained networks."""

import sys
from pathlib import Path

import click

from bench.answers import warn_of_damaged
from bench.options import for_export, for_sample


@click.command()
@for_sample
def sample(
    model: str,
    results: Path,
    task: str | None,
    length: int | None,
    number: int,
    steps: int | None,
    condition: str | None,
    prompt: str | None,
    temperature: float,
    seed: int,
    naive: bool,
    judge: bool,
) -> None:
    """Draw samples from a trained network.

    MODEL is the name of a model, with fields if needed, such as "tcn kernel_size=3".
    """
    from tqdm import tqdm

    from bench.core.store import Store
    from bench.measure import samples
    from bench.plan.grid import task_of

    wanted = samples.Wanted(
        number=number,
        steps=steps,
        condition=condition,
        prompt=prompt,
        temperature=temperature,
        seed=seed,
        cached=not naive,
        judged=judge,
    )
    records, damaged = Store(results).read_all()
    warn_of_damaged(damaged)
    record = samples.choose(results, records, model, task, length)
    num_steps = steps or task_of(record.spec).signature.num_steps
    hidden = not sys.stderr.isatty()
    with tqdm(total=num_steps, unit="step", disable=hidden, dynamic_ncols=True) as bar:
        drawn, y, conditions = samples.draw(
            results, record, wanted, lambda done: bar.update(done - bar.n)
        )
    for path in samples.save(results, drawn, y, conditions):
        print(path)
    if drawn.agreement is not None:
        print(samples.agreement_line(drawn.agreement))


@click.command()
@for_export
def export(
    model: str,
    results: Path,
    task: str | None,
    length: int | None,
    batch_size: int,
    output: Path | None,
) -> None:
    """Write the streaming step of a trained network as an ONNX file.

    The file maps x_t and the state to y_t and the next state. It is checked against our stepper in
    ONNX Runtime over 1,000 steps, and timed beside it.

    MODEL is the name of a model, with fields if needed, such as "tcn kernel_size=3".
    """
    from bench.core.files import write_whole
    from bench.core.store import Store
    from bench.measure import export as exporting
    from bench.measure import samples, weights

    exporting.check_possible(model)
    records, damaged = Store(results).read_all()
    warn_of_damaged(damaged)
    record = samples.choose(results, records, model, task, length)
    network = weights.trained(results, record.spec, record.backend)
    file = output or exporting.path(results, record.spec, record.backend)
    made = exporting.export(network, batch_size)
    write_whole(file, made.content)
    print("\n".join(exporting.lines(made, file)))
