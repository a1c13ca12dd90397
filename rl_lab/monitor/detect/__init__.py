"""What detectors judge by: usual bands, ranges, growth, standing, and what left its band beforehand."""
