"""No byte of a signed bundle can change unseen: every one of them is changed, one after the other."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from lftool.errors import LftoolError

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSALS = {4, 5, 6}
MUTATIONS = 1000
STEP = 5  # the longer suite takes every bit
BITS = [1 << bit for bit in range(8)]


def unrefused(patient, positions: Iterable[int], masks: Iterable[int]) -> list[tuple[int, int, object]]:
    """Return each (position, mask, error) whose change was accepted, or refused by anything but a refusal of ours."""
    found = []
    for mask in masks:
        for position in positions:
            error = patient.change(position, mask)
            if not isinstance(error, LftoolError) or error.exit_status not in REFUSALS:
                found.append((position, mask, error))
    return found


def test_the_bundles_are_accepted_as_they_are(patient, plain, start):
    patient(plain).verify()
    patient(start).verify()


def test_the_bundle_of_layout_gguf_is_small_enough_to_change_every_byte(plain):
    assert 2048 < len(plain) < 24 * 1024


def test_every_byte_of_a_gguf_bundle_matters(patient, plain):
    assert unrefused(patient(plain), range(len(plain)), [0x01]) == []


def test_the_top_bit_of_bytes_all_over_a_gguf_bundle_matters(patient, plain):
    assert unrefused(patient(plain), range(0, len(plain), STEP), [0x80]) == []


@pytest.mark.slow
def test_bytes_all_over_a_llamafile_bundle_matter(patient, start, start_archive):
    before, gap = len(start_archive.prefix), len(start_archive.parts[0].gap)
    behind = before + gap
    edges = [*range(before, before + 64), *range(before + 64, behind - 64, 61), *range(behind - 64, behind + 64)]
    positions = [*range(0, before, STEP), *edges, *range(behind + 64, len(start), STEP)]

    assert unrefused(patient(start), positions, [0x01]) == []


@pytest.mark.slow
def test_every_bit_of_a_gguf_bundle_matters(patient, plain):
    assert unrefused(patient(plain), range(len(plain)), BITS) == []


@pytest.mark.slow
def test_every_bit_of_a_llamafile_bundle_outside_the_gap_matters(patient, start, start_archive):
    before, gap = len(start_archive.prefix), len(start_archive.parts[0].gap)
    assert unrefused(patient(start), [*range(before), *range(before + gap, len(start))], BITS) == []


@pytest.mark.slow
def test_every_byte_of_the_gap_of_a_llamafile_bundle_matters(patient, start, start_archive):
    before, gap = len(start_archive.prefix), len(start_archive.parts[0].gap)
    assert unrefused(patient(start), range(before, before + gap), [0x01]) == []


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Change, delete, insert, repeat, move or cut some bytes, once to four times."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(changed))
        length = generator.choice((1, 2, 4, 8, 30, 46, 512))
        match generator.randrange(6):
            case 0:
                changed[at : at + length] = generator.randbytes(len(changed[at : at + length]))
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = generator.randbytes(length)
            case 3:
                changed[at:at] = changed[at : at + length]
            case 4:
                piece = changed[at : at + length]
                del changed[at : at + length]
                to = generator.randrange(len(changed) + 1)
                changed[to:to] = piece
            case _:
                changed[at : at + length] = generator.choice((b"\0", b"\xff")) * len(changed[at : at + length])
    return bytes(changed)


@pytest.mark.parametrize("layout", ["plain", "start"])
def test_no_random_mutation_is_accepted(patient, layout, request):
    data = request.getfixturevalue(layout)
    subject = patient(data)
    generator = random.Random(f"mutations of {layout}")
    wrong = []
    tried = 0
    while tried < MUTATIONS:
        changed = mutated(data, generator)
        if changed == data:
            continue
        tried += 1
        subject.write(changed)
        try:
            subject.verify()
        except LftoolError as error:
            if error.exit_status not in REFUSALS:
                wrong.append((tried, error))
        except Exception as error:  # noqa: BLE001 - a traceback is what this looks for
            wrong.append((tried, error))
        else:
            wrong.append((tried, "accepted"))
    assert wrong == []
