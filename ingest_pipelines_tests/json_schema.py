"""The library `jsonschema` without the grammar of addresses that it uses where it finds it.

Its parsers take seconds to make, in each process that imports the library, and no test asks for them.
"""

import sys

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # Python's way to say: as if it were not installed
import jsonschema  # noqa: E402

__all__ = ["jsonschema"]
