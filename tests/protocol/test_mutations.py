"""Whatever is changed in a valid message: it is read as one that fits all limits, or refused in one short sentence."""

from itertools import islice

import pytest
from mutations import mutations

from protocol.converter import WireError
from protocol.fields import is_printable
from protocol.wire import VOCABULARIES, decode, encode


@pytest.mark.parametrize(
    ("count", "seed"), [(5_000, 1), pytest.param(1_000_000, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_each_changed_message_is_read_within_the_limits_or_refused_in_a_sentence(count: int, seed: int) -> None:
    read, sentences = 0, set()
    for changed in islice(mutations(seed), count):
        for reader in VOCABULARIES:
            try:
                message = decode(changed, reader)
            except WireError as error:
                sentences.add(str(error))
            else:
                read += 1
                assert decode(encode(message), reader) == message, changed
    assert read > count / 10, "many changes leave a message that is valid"
    assert [one for one in sentences if not is_printable(one) or len(one) > 120] == []
