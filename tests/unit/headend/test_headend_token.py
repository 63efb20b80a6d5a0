import os

import pytest

from asa_emu.config import parse_config
from asa_emu.headend.token import OLD, STRONG, new_token, strong_token


@pytest.mark.parametrize("release", ["9.1(3)", "9.16(4)", "9.2", "10.0(1)", "8.4(7.1)", "8.4(7)1", ""])
def test_newer_releases_have_the_stronger_token(release: str) -> None:
    assert strong_token(release)


@pytest.mark.parametrize("release", ["9.1(2)8", "9.0(4)", "8.6(1)", "8.5(1)", "8.4(7)", "8.2(5)", "7.2"])
def test_older_releases_have_the_weaker_one(release: str) -> None:
    assert not strong_token(release)


@pytest.mark.parametrize(("line", "size"), [("", STRONG), ("ASA Version 8.4(6)\n", OLD)])
def test_the_version_line_chooses_and_every_token_is_random_throughout(line: str, size: int) -> None:
    config = parse_config(line)
    tokens = {new_token(config, os.urandom) for _ in range(100)}
    assert len(tokens) == 100
    assert {len(bytes.fromhex(token)) for token in tokens} == {size}
    # every place differs somewhere: nothing in it is constant
    assert all(len({token[at] for token in tokens}) > 1 for at in range(2 * size))
