"""`metarl fewshot benchmark`: many methods by one protocol, beside published numbers."""

from metarl.commands.flags import parse
from metarl.supervised.benchmark_plan import Benchmark


def benchmark(arguments: list[str]) -> int:
    """Train and judge what is not done yet, and print the table."""
    purpose = (
        "Train methods at several ways and shots, judge each on the same test episodes, and write a table with the "
        "published numbers beside. Stopped and called again, it goes on; what is done is not done again."
    )
    options = parse(Benchmark, "metarl fewshot benchmark", arguments, purpose)

    from metarl.supervised.benchmark import run

    table, done = run(options)
    print(f"\n{table.read_text(encoding='utf-8')}")
    print(f"table:   {table}\nresults: {table.with_suffix('.json')}")
    if not done:
        print("stopped; the same command goes on")
    return 0 if done else 130
