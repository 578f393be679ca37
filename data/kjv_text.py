# SPDX-License-Identifier: GPL-3.0-or-later
"""The King James text as bytes, from Debian's packages bible-kjv and bible-kjv-text.

One verse a line without its reference, an empty line after each chapter. Every 20th chapter
(chapter index mod 20 == 19, counted over the whole book) is held out: 59 of 1189 chapters.
"""
import hashlib
import re
import subprocess

VERSE = re.compile(r"^(\S+?)(\d+):(\d+) (.*)$")


def chapters():
    """List of 1189 byte strings, in the order of the book."""
    dump = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, check=True)
    found, last = [], None
    for line in dump.stdout.decode("ascii").splitlines():
        book, chapter, _, text = VERSE.match(line).groups()
        if (book, chapter) != last:
            found.append([])
            last = (book, chapter)
        found[-1].append(text.strip())
    return [("\n".join(c) + "\n\n").encode("ascii") for c in found]


def split():
    """(training bytes, held-out bytes)."""
    every = chapters()
    assert len(every) == 1189, f"expected 1189 chapters, found {len(every)}"
    train = b"".join(c for i, c in enumerate(every) if i % 20 != 19)
    held = b"".join(c for i, c in enumerate(every) if i % 20 == 19)
    return train, held


if __name__ == "__main__":
    for name, text in zip(("train", "held-out"), split()):
        print(f"{name}: {len(text)} bytes, {len(set(text))} distinct, "
              f"sha256 {hashlib.sha256(text).hexdigest()}")
