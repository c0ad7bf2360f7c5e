"""The benchmarks: our work beside that of peers, in one run, against one S3 server. See docs/benchmarks.md."""
