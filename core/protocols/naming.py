"""The folder names of a method's runs, letter for letter those of ``tools/_protocol.sh``."""

import re
from pathlib import Path

LONGEST, KEPT = 120, 100  # letters of what is said of the settings
NO_SETTING = "CACHE."  # keys that change no result


def method_of(config_file: str, pairs: list[str]) -> str:
    """Return ``METHOD/CONFIG``, and the settings that were changed."""
    file = Path(config_file)
    return f"{file.parent.name}/{file.stem}{_tag(pairs)}"


def _tag(pairs: list[str]) -> str:
    said = "".join(
        f",{key}={value}"
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
        if not key.startswith(NO_SETTING)
    )
    tag = re.sub(rb"[^0-9A-Za-z._,=+-]", b"_", said.encode()).decode()
    return tag if len(tag) <= LONGEST else f"{tag[:KEPT]}-{_cksum(tag.encode())}"


def _cksum(data: bytes) -> int:
    """What the POSIX tool cksum says of these bytes."""
    length = len(data)
    tail = length.to_bytes((length.bit_length() + 7) // 8, "little")
    crc = 0
    for byte in data + tail:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc ^ 0xFFFFFFFF
