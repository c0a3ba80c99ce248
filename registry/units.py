"""How sizes are written for a person. GB are 2**30 bytes."""


def memory_text(gb: float | None) -> str:
    """Memory in the unit that says it shortest: ``0.5 GB``, ``2 GB``, ``300 MiB``."""
    if gb is None:
        return "no limit"
    if round(gb, 2) == gb:
        return f"{gb:g} GB"
    return f"{gb:.3g} GB" if gb >= 1 else f"{gb * 1024:.4g} MiB"


def peak_text(limit_gb: float | None, peak_gb: float | None) -> str:
    """How much was used when a limit was hit, in brackets; one allocation that is refused leaves the peak far below the limit."""
    if not peak_gb:
        return ""
    peak = f"{peak_gb:.3g} GB" if memory_text(limit_gb).endswith("GB") else memory_text(peak_gb)  # in one unit
    if limit_gb is not None and peak_gb < 0.95 * limit_gb:
        return f" (it held {peak} and asked for more than the rest)"
    return f" (peak {peak})"
