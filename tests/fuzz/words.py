"""What bodies of the dialects are made of."""

from typing import Any, Final

_TEXT: Final = """
data input_data method columns index instances inputs outputs parameters dataframe_split dataframe_records params name shape datatype
binary_data_size binary_data binary_data_output classification content_type include classes base64 pd np str
FP16 FP32 FP64 INT8 INT64 UINT64 BOOL BYTES predict transform inverse_transform NaN Infinity null age town t n
"""
WORDS: Final = tuple(_TEXT.split())
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "1",
    "\x00", "\ud800", "\U0001f600", "2026-01-01T00:00:00.123456789Z", "9999-12-31T23:59:59-14:00", "0001-01-01", [], {}, [[]], [{}], [0],
)  # fmt: skip
