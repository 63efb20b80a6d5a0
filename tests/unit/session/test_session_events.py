"""The stream of events: its order, its completeness, and what subscribers may do."""

import pytest

from asa_emu.session import (
    AddressAssigned,
    AddressReleased,
    DownReason,
    EndReason,
    SessionCreated,
    SessionEnded,
    SessionEvent,
    SessionResumed,
    TunnelDown,
    TunnelUp,
)
from tests.session_lab import CAFE, HOME, Lab, facts


def names(lab: Lab) -> list[str]:
    return [type(event).__name__ for event in lab.events]


def test_a_whole_life_in_order() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 1)
    lab.ssl(session, now=2)
    lab.db.end(session, EndReason.ADMIN_RESET, 3)
    assert names(lab) == [
        "SessionCreated",
        "AddressAssigned",
        "TunnelUp",
        "TunnelUp",
        "TunnelDown",
        "SessionInactive",
        "SessionResumed",
        "TunnelUp",
        "TunnelDown",
        "TunnelDown",
        "AddressReleased",
        "SessionEnded",
    ]
    assert [event.at for event in lab.events] == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]


def test_every_event_says_who() -> None:
    lab = Lab(first_index=1436)
    lab.connected("walter", now=0)
    for event in lab.events:
        assert (event.index, event.username, event.tunnel_group, event.group_policy, event.public_ip) == (
            1436,
            "walter",
            "Staff",
            "staff",
            HOME,
        )


@pytest.mark.statement("S97")
def test_a_preempted_session_ends_just_after_the_new_one_began() -> None:
    lab = Lab()
    lab.login(now=0, simultaneous_logins=1)
    lab.login(now=9, simultaneous_logins=1)
    assert [(type(event), event.index) for event in lab.events] == [
        (SessionCreated, 1),
        (SessionCreated, 2),
        (SessionEnded, 1),
    ]


def test_a_resume_shows_the_old_public_ip_before_the_new_one() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 1)
    lab.ssl(session, now=2, ip=CAFE)
    (resumed,) = lab.told(SessionResumed)
    assert (resumed.public_ip, resumed.peer.ip) == (HOME, CAFE)
    assert lab.told(TunnelUp)[-1].public_ip == CAFE


def test_first_and_replacing_tell_the_three_ways_of_coming_up_apart() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    lab.ssl(session, now=1)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 2)
    lab.ssl(session, now=3)
    ups = [(event.tunnel, event.first, event.replaces) for event in lab.told(TunnelUp)]
    assert ups == [("1.2", True, None), ("1.3", True, None), ("1.4", False, 2), ("1.5", False, None)]


def test_links_are_handed_over_with_the_reason_and_then_forgotten() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    ssl = session.ssl
    assert ssl is not None
    lab.db.tunnel_lost(ssl, DownReason.DPD, 1)
    assert ssl.link is None
    lab.db.end(session, EndReason.SESSION_TIMEOUT, 2)
    assert [(link, event.reason, event.end_reason) for link, event in lab.closed] == [
        ("ssl 2", DownReason.DPD, None),
        ("dtls 3", DownReason.SESSION_ENDED, EndReason.SESSION_TIMEOUT),
    ]


def test_a_tunnel_without_link_hands_over_nothing() -> None:
    lab = Lab()
    session = lab.login(now=0)
    tunnel = lab.db.open_ssl(session, facts(), None, 0)
    lab.db.tunnel_lost(tunnel, DownReason.LOST, 1)
    assert lab.closed == []


def test_subscribers_see_a_consistent_table_and_may_call_back() -> None:
    lab = Lab()
    seen: list[tuple[str, int]] = []

    def end_what_lost_its_ssl(event: SessionEvent) -> None:
        seen.append((type(event).__name__, len(lab.db)))
        session = lab.db.by_index(event.index)
        if isinstance(event, TunnelDown) and session is not None:
            lab.db.end(session, EndReason.ADMIN_RESET, event.at)

    session = lab.connected(now=0)
    lab.db.subscribe(end_what_lost_its_ssl)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 1)
    assert seen == [
        ("TunnelDown", 1),
        ("SessionInactive", 0),
        ("TunnelDown", 0),
        ("AddressReleased", 0),
        ("SessionEnded", 0),
    ]
    assert [event for event in lab.events if event.at == 1][-1] == lab.told(SessionEnded)[0]


def test_a_subscriber_that_raises_loses_no_event_for_later() -> None:
    lab = Lab()

    def refuse(event: SessionEvent) -> None:
        if isinstance(event, SessionCreated):
            raise RuntimeError("no")

    lab.db.subscribe(refuse)
    with pytest.raises(RuntimeError):
        lab.login(now=0)
    (session,) = lab.db.sessions()
    lab.db.end(session, EndReason.ADMIN_RESET, 1)
    assert names(lab) == ["SessionCreated", "SessionEnded"]


def test_an_unsubscribed_listener_hears_no_more() -> None:
    lab = Lab()
    heard: list[SessionEvent] = []
    stop = lab.db.subscribe(heard.append)
    lab.login("a", now=0)
    stop()
    lab.login("b", now=1)
    assert [event.username for event in heard] == ["a"]


def test_addresses_are_told_when_assigned_and_when_released() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    lab.db.end(session, EndReason.ADMIN_RESET, 1)
    assert [event.addresses for event in lab.told(AddressAssigned)] == [session.addresses]
    assert [event.addresses for event in lab.told(AddressReleased)] == [session.addresses]
    assert lab.told(AddressAssigned)[0].wanted_ip6


def test_a_session_without_address_releases_none() -> None:
    lab = Lab()
    lab.db.end(lab.login(now=0), EndReason.ADMIN_RESET, 1)
    assert not lab.told(AddressReleased)
