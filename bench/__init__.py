"""The harness: profiles to specs, specs to records, records to a report."""
