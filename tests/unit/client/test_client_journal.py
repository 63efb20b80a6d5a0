"""What people are told: vpncli's lines, the history, the event viewer."""

import pytest

from client_emu.events import AdapterChanged, Connected, Disconnected, Failed, Reconnected, Reconnecting
from client_emu.journal import Journal, Message, Stage
from client_emu.lifecycle import GAVE_UP

NOW = 1_354_313_604.0  # 22:13:24 UTC on 30 November 2012
CONNECTED = Connected("10.0.0.1", None, 1390, (), (), None, None)


def test_connecting_reads_as_a_recorded_vpncli() -> None:
    told: list[Message] = []
    journal = Journal("vpn.example.test", told.append)
    journal.stage(Stage.CONTACTING, NOW)
    journal.stage(Stage.LOGGED_IN, NOW)
    journal.stage(Stage.CONFIGURING, NOW)
    journal.tell(CONNECTED, NOW)
    assert (
        "\n".join(message.line for message in told)
        == """\
  >> contacting host (vpn.example.test) for login information...
  >> notice: Contacting vpn.example.test.
  >> state: Connecting
  >> notice: Establishing VPN session...
  >> notice: The AnyConnect Downloader is performing update checks...
  >> notice: Checking for profile updates...
  >> notice: Checking for product updates...
  >> notice: Checking for customization updates...
  >> notice: Performing any required updates...
  >> notice: The AnyConnect Downloader updates have been completed.
  >> state: Connecting
  >> notice: Establishing VPN session...
  >> notice: Establishing VPN - Initiating connection...
  >> notice: Establishing VPN - Examining system...
  >> notice: Establishing VPN - Activating VPN adapter...
  >> notice: Establishing VPN - Configuring system...
  >> notice: Establishing VPN...
  >> state: Connected
  >> notice: Connected to vpn.example.test."""
    )
    assert list(journal.messages) == told


def test_disconnecting_reads_as_a_recorded_vpncli() -> None:
    journal = Journal("vpn.example.test")
    journal.stage(Stage.DISCONNECTING, NOW)
    journal.tell(Disconnected("disconnected by the user"), NOW)
    assert [message.line for message in journal.messages] == [
        "  >> state: Disconnecting",
        "  >> notice: Disconnect in progress, please wait...",
        "  >> state: Connected",
        "  >> notice: Connected to vpn.example.test.",
        "  >> state: Disconnecting",
        "  >> state: Disconnecting",
        "  >> state: Disconnected",
        "  >> notice: Ready to connect.",
    ]


@pytest.mark.statement("S61", "S66")
def test_the_history_of_a_session_that_was_given_up() -> None:
    journal = Journal("10.1.1.2")
    journal.tell(CONNECTED, NOW)
    journal.tell(Reconnecting("tunnel"), NOW + 60)
    journal.tell(Reconnecting("session"), NOW + 90)
    journal.tell(Disconnected(GAVE_UP), NOW + 180)
    assert journal.history == [
        "[22:13:24] Connected to 10.1.1.2.",
        "[22:14:24] Reconnecting to 10.1.1.2...",
        "[22:14:54] Reconnecting to 10.1.1.2...",
        "[22:16:24] The VPN client failed to reconnect.",
        "[22:16:24] Ready to connect.",
    ]


def test_a_failure_says_why() -> None:
    journal = Journal("vpn")
    journal.tell(Failed("login refused"), NOW)
    assert journal.history[0] == "[22:13:24] Connection attempt has failed. (login refused)"
    assert journal.records[0].severity == "Error"


@pytest.mark.statement("S60")
def test_a_record_has_the_layout_of_the_event_viewer() -> None:
    journal = Journal("vpn")
    journal.negotiated({"Disconnected Timeout": "120 seconds"}, NOW)
    assert (
        str(journal.records[0])
        == """\
******************************************

Date        : 11/30/2012
Time        : 22:13:24
Type        : Information
Source      : acvpnagent

Description : VPN session settings received from the secure gateway:
Disconnected Timeout: 120 seconds
"""
    )


@pytest.mark.statement("S120")
def test_a_new_mtu_is_told_as_the_reason_of_the_restart() -> None:
    journal = Journal("vpn")
    for event in (AdapterChanged("down", 1390), AdapterChanged("up", 1300), Reconnected("session", None)):
        journal.tell(event, NOW)
    texts = [record.text for record in journal.records]
    assert texts[0] == "Reconfigure reason code 16:\nNew MTU configuration."
    assert texts[1] == "The entire VPN connection is being reconfigured."
    assert "Disabling and re-enabling the Virtual Adapter" in texts[2]
    assert texts[3] == "Message type information sent to the user:\nConnected to vpn."
