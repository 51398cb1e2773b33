"""CPython's own tests of what a mapping does, over a hash map in a segment."""

from collections.abc import Callable, Iterator

import pytest
from test.mapping_tests import BasicTestMappingProtocol

import vasmem


class TestMappingProtocol(BasicTestMappingProtocol):
    """Each test makes several mappings, each of which is a map of one segment."""

    type2test: Callable[[], vasmem.HashMap] | None

    @pytest.fixture(autouse=True)
    def in_a_segment(self) -> Iterator[None]:
        with vasmem.create("mapping", max_size="1G") as segment:
            self.type2test = lambda: segment.hashmap(f"map {len(segment)}")
            yield
            self.type2test = None
            assert segment.check() == []
        vasmem.remove("mapping")


# Else it would be collected too, as the abstract suite that it is.
del BasicTestMappingProtocol
