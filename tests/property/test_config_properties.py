"""Any text is a configuration or a ConfigError, and what was loaded loads again from what was written."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from asa_emu.config import Config, ConfigError, parse_config
from asa_emu.config.grammar import MODES

WORDS = sorted(
    {word for mode in MODES.values() for row in mode.commands for word in row.head}
    | {
        "value",
        "none",
        "no",
        "!emu",
        "!",
        "exit",
        "end",
        "attributes",
        "internal",
        "type",
        "remote-access",
        "svc",
    }
    | {"webvpn-attributes", "general-attributes", "password", "encrypted", "totp", "JBSWY3DP", "users", "0-9"}
    | {
        "10.0.0.1",
        "10.0.0.1-10.0.0.9",
        "mask",
        "255.255.255.0",
        "fd00::1/64",
        "8s",
        "30",
        "15",
        "G",
        "T",
        "bob",
    }
    | {
        "DfltGrpPolicy",
        "DefaultRAGroup",
        '"two words"',
        '"',
        "standard",
        "permit",
        "any",
        "host",
        "nodtls",
        "LOCAL",
    }
)
lines = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), min_size=1, max_size=6).map(" ".join)
indented = st.tuples(st.integers(0, 3), lines).map(lambda pair: " " * pair[0] + pair[1])
texts = st.lists(indented, max_size=12).map("\n".join)

SEEDS = (
    "interface a",
    "group-policy G internal",
    "group-policy G attributes",
    "group-policy DfltGrpPolicy attributes",
    "tunnel-group T type remote-access",
    "tunnel-group T webvpn-attributes",
    "username bob password x",
    "username bob attributes",
    "webvpn",
    " webvpn",
    "ip local pool G 10.0.0.1-10.0.0.9",
    "access-list G standard permit any",
)
rich = st.lists(st.one_of(st.sampled_from(SEEDS), indented), max_size=14).map("\n".join)


@settings(deadline=None)
@given(st.one_of(texts, rich, st.text()))
@example("webvpn\n!\n enable x\n")
@example('!emu username b password "\x7f\\u007f \\"" privilege 3')
@example("foo\n bar\n exit\nexit")
def test_text_loads_or_is_refused_and_loads_again(text: str) -> None:
    try:
        config = parse_config(text)
    except ConfigError as refusal:
        error = refusal
    else:
        check_round_trip(config)
        return
    assert str(error).startswith(f"startup-config:{error.line}: ")
    assert 1 <= error.line <= text.count("\n") + 1


def check_round_trip(config: Config) -> None:
    written = config.startup()
    again = parse_config(written)
    assert again.document == config.document
    assert again.startup() == written
    parse_config(config.render())
    parse_config(config.render(all=True))


@settings(deadline=None)
@given(st.lists(st.one_of(lines, st.sampled_from(SEEDS)), max_size=15))
def test_a_session_never_fails_and_leaves_something_that_loads(typed: list[str]) -> None:
    config = parse_config("")
    editor = config.editor()
    for line in typed:
        generation = config.generation
        outcome = editor.execute(line.replace("\n", " "))
        assert outcome.ok or config.generation == generation
        assert editor.mode in MODES
        editor.help(line)
    assert parse_config(config.startup()).startup() == config.startup()
