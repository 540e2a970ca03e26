"""TFRecord files and the `tf.train.Example` messages in them, read without TensorFlow.

A record is a length (uint64), its masked CRC-32C, the data, and their masked CRC-32C. A message maps keys to lists of
bytes, floats or integers (https://www.tensorflow.org/tutorials/load_data/tfrecord); only these parts of protobuf's wire
format occur in it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from reward_models.data.example import InvalidSource

HEADER = struct.Struct("<QI")
CRC = struct.Struct("<I")
MASK_DELTA = 0xA282EAD8
MAX_RECORD_BYTES = 2**32
"""A longer record is a damaged length."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""

Values = list[bytes] | np.ndarray
"""Bytes, or float32 or int64 numbers."""


class DamagedRecord(InvalidSource):
    """A record that is cut short, or whose checksum is wrong.

    Attributes:
        following: Whether the records after it can still be found.
    """

    def __init__(self, message: str, *, following: bool) -> None:
        super().__init__(message)
        self.following = following


@dataclass(frozen=True)
class Record:
    """Where a record lies.

    Attributes:
        path: The file.
        offset: Where its header begins, in bytes.
    """

    path: Path
    offset: int

    def read(self) -> bytes:
        """Return its data.

        Raises:
            DamagedRecord: Cut short, or a wrong checksum.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                length = self._length(file.read(HEADER.size))
                data, tail = file.read(length), file.read(CRC.size)
        except OSError as error:
            raise InvalidSource(f"{self.path} cannot be read: {error.strerror}.") from error
        if len(data) < length or len(tail) < CRC.size:
            raise DamagedRecord(f"{self} was cut short", following=False)
        if masked_crc(data) != CRC.unpack(tail)[0]:
            raise DamagedRecord(f"{self} has a wrong checksum", following=True)
        return data

    def next_offset(self) -> int:
        """Return the offset of the record after it.

        Raises:
            DamagedRecord: The length cannot be trusted.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return self.offset + HEADER.size + self._length(file.read(HEADER.size)) + CRC.size

    def _length(self, header: bytes) -> int:
        if len(header) < HEADER.size:
            raise DamagedRecord(f"{self} was cut short", following=False)
        length, crc = HEADER.unpack(header)
        if masked_crc(header[:8]) != crc or length > MAX_RECORD_BYTES:
            raise DamagedRecord(f"{self} has a damaged length", following=False)
        return length

    def __str__(self) -> str:
        return f"the record at byte {self.offset} of {self.path}"


def records(path: Path) -> Iterator[Record]:
    """Yield every record of a file; a damaged length ends it.

    Raises:
        InvalidSource: There is no such file.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InvalidSource(f"{path} cannot be read: {error.strerror}.") from error
    offset = 0
    while offset < size:
        record = Record(path, offset)
        yield record
        try:
            offset = record.next_offset()
        except DamagedRecord:
            return  # reading the record says so


def masked_crc(data: bytes) -> int:
    """Return the checksum that TFRecord files store."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def parse_example(data: bytes) -> dict[str, Values]:
    """Return the features of a `tf.train.Example` by key.

    Raises:
        InvalidSource: It is not a `tf.train.Example`.
    """
    features: dict[str, Values] = {}
    try:
        for number, part in _fields(memoryview(data)):
            if number == 1:
                for _, entry in _fields(part):
                    fields = dict(_fields(entry))
                    features[bytes(fields[1]).decode()] = _values(fields.get(2, memoryview(b"")))
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise InvalidSource(f"The record holds no tf.train.Example: {error}.") from error
    return features


def _values(feature: memoryview) -> Values:
    for number, part in _fields(feature):
        if number == 1:
            return [bytes(value) for _, value in _fields(part)]
        if number == 2:
            chunks = [bytes(value) for _, value in _fields(part)]  # packed, or four bytes each
            return np.frombuffer(b"".join(chunks), "<f4")
        if number == 3:
            return np.array([v for chunk in _integers(part) for v in chunk], np.int64)
    return []


def _integers(part: memoryview) -> Iterator[list[int]]:
    position = 0
    while position < len(part):
        key, position = _varint(part, position)
        if key & 7 == VARINT:
            value, position = _varint(part, position)
            yield [_signed(value)]
            continue
        length, position = _varint(part, position)
        end, values = position + length, []
        while position < end:
            value, position = _varint(part, position)
            values.append(_signed(value))
        yield values


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field with a length, or of four or eight bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == BYTES:
            length, position = _varint(message, position)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if position + length > len(message):
            raise ValueError("a field is longer than its message")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
