"""Values of nominal features that share codes, because their feature has more values than there are codes."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Hashable, Iterable, Mapping

from driftmoe.encoding.samples import short


def code_of(codes: Mapping[Hashable, int], value: Hashable, n_codes: int) -> int:
    """Return the code of a value. An unknown value gets the next free code, or a hashed one if all are taken."""
    code = codes.get(value)
    if code is not None:
        return code
    if len(codes) < n_codes:
        return len(codes)
    text = repr(float(value) if isinstance(value, int | float) else value)  # 2 and 2.0 are one value
    return zlib.crc32(text.encode(errors="surrogatepass")) % n_codes


def warn_of_shared(n_before: int, n_shared: int, features: Iterable[Hashable], *, stacklevel: int) -> None:
    """Warn if the first value that shares a code has been learnt since there were `n_before`.

    Parameters
    ----------
    n_before, n_shared
        Number of values that share a code, before and now.
    features
        Nominal features all of whose codes are taken.
    stacklevel
        As for `warnings.warn`, counted from the caller.
    """
    if n_before == 0 < n_shared:
        names = ", ".join(short(name) for name in list(features)[:3])
        warnings.warn(
            f"features with too many nominal values ({names}): later values share the codes of earlier ones from now "
            "on; n_shared_values counts them: leave identifiers out, or give rare values one name",
            stacklevel=stacklevel + 1,
        )
