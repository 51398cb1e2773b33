"""The benchmark: `vasmem bench` runs suites of workloads on vasmem and on other stores."""
