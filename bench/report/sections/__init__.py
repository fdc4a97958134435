"""The sections of a report, one module each: `bench.report.section` finds them."""
