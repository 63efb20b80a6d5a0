"""Load balancing without a socket: who directs, who gets the next client, who is dead."""

import json
from dataclasses import asdict, replace

import pytest

from asa_emu.ha.balance import HOLD, POLL, Balancer, Member, News, Table
from asa_emu.ha.records import RecordRefused, _sign, decode_untrusted, derive_key, encode


def member(number: int, priority: int = 5, **facts: int) -> Member:
    return Member(f"192.0.2.{number}", 443, priority, facts.get("used", 0), facts.get("limit", 100))


class Cluster:
    """Members around one table; `turn` lets each of them lay down its heartbeat, in order."""

    def __init__(self, *members: Member) -> None:
        self.table = Table()
        self.now = 1000.0
        self.members = {each.address: each for each in members}
        self.balancers = {each.address: Balancer() for each in members}
        self.turn()

    @classmethod
    def at_rest(cls, *members: Member) -> "Cluster":
        """The same, once the role is taken."""
        cluster = cls(*members)
        for _ in range(3):
            cluster.turn(POLL)
        return cluster

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        for address in self.members:
            self.beat(address)

    def beat(self, address: str) -> None:
        balancer, me = self.balancers[address], self.members[address]
        balancer.on_deadline(self.now)
        balancer.take_part(me, self.now)
        roll = self.table.meet(me, balancer.wants_role(self.now), self.now)
        for row, age in roll.rows:
            balancer.heard(row, self.now - age)
        balancer.leased(roll.director, self.now + roll.left, self.now)

    def kill(self, address: str) -> None:
        del self.members[address], self.balancers[address]

    def directors(self) -> list[str]:
        return [address for address, balancer in self.balancers.items() if balancer.directs]

    def told(self, address: str) -> list[News]:
        balancer = self.balancers[address]
        news, balancer.news = balancer.news, []
        return [what for what, _ in news]


ONE, TWO, THREE = (member(number).address for number in (1, 2, 3))


def test_who_comes_up_listens_first_and_then_the_highest_priority_directs() -> None:
    cluster = Cluster(member(1, 5), member(2, 10), member(3, 5))
    cluster.turn(POLL)
    assert cluster.directors() == []
    cluster.turn(POLL)
    assert cluster.directors() == [TWO]
    cluster.turn(POLL)
    assert {balancer.director for balancer in cluster.balancers.values()} == {TWO}
    assert cluster.told(TWO) == [News.STARTED, News.CREATED, News.CREATED, News.DIRECTOR]
    assert cluster.told(THREE) == [News.STARTED, News.CREATED, News.CREATED, News.MEMBER]


def test_of_equals_the_lowest_address_directs() -> None:
    cluster = Cluster.at_rest(member(3), member(1), member(2))
    assert cluster.directors() == [ONE]


def test_a_better_one_that_comes_later_does_not_take_the_role_away() -> None:
    cluster = Cluster.at_rest(member(1, 1))
    cluster.members[TWO], cluster.balancers[TWO] = member(2, 10), Balancer()
    for _ in range(10):
        cluster.turn(POLL)
    assert cluster.directors() == [ONE]
    assert News.GREETED in cluster.told(ONE)


def test_a_dead_director_is_followed_by_the_next_priority() -> None:
    cluster = Cluster.at_rest(member(1, 3), member(2, 10), member(3, 7))
    cluster.told(THREE)
    cluster.kill(TWO)
    for _ in range(3):
        cluster.turn(POLL)
    assert cluster.directors() == []
    cluster.turn(POLL)
    assert cluster.directors() == [THREE]
    assert cluster.told(THREE) == [News.DIRECTOR_SILENT, News.DIRECTOR]
    assert [each.address for each in cluster.balancers[THREE].members] == [THREE, ONE]


def test_one_who_says_goodbye_is_gone_at_once() -> None:
    cluster = Cluster.at_rest(member(1, 3), member(2, 10))
    cluster.told(ONE)
    leaving = replace(cluster.members[TWO], leaving=True)
    cluster.kill(TWO)
    cluster.table.meet(leaving, False, cluster.now)
    cluster.turn()
    cluster.turn()
    assert cluster.directors() == [ONE]
    assert cluster.told(ONE) == [News.LEFT, News.DIRECTOR]


def test_one_that_cannot_listen_on_the_cluster_address_gives_the_role_up() -> None:
    cluster = Cluster.at_rest(member(1, 10), member(2, 5))
    cluster.members[ONE] = replace(cluster.members[ONE], able=False)
    cluster.turn(POLL)
    cluster.turn(POLL)
    assert cluster.directors() == [TWO]
    assert cluster.told(ONE)[-1] is News.MEMBER


def test_the_least_loaded_gets_the_next_client_and_those_on_their_way_count() -> None:
    cluster = Cluster.at_rest(
        member(1, used=10, limit=20), member(2, used=20, limit=100), member(3, used=2, limit=8)
    )
    director = cluster.balancers[ONE]
    assert director.directs

    def picked(count: int) -> list[str]:
        return [each.ip for _ in range(count) if (each := director.pick(cluster.now))]

    # 20 of 100 until it has 25, which is as much as 2 of 8; a single client makes 3 of 8 of that
    expected = ["192.0.2.2"] * 5 + ["192.0.2.3"] + ["192.0.2.2"] * 2
    assert picked(8) == expected
    # a heartbeat that was laid down before they were sent there does not count them
    director.heard(member(3, used=2, limit=8), cluster.now - POLL / 2)
    assert picked(1) == ["192.0.2.2"]
    cluster.turn(POLL)
    cluster.turn(POLL)
    assert picked(8) == expected


def test_equals_take_turns_even_if_clients_take_their_time_to_log_in() -> None:
    cluster = Cluster.at_rest(member(1), member(2), member(3))
    picked = []
    for _ in range(6):
        picked += [each.ip for each in [cluster.balancers[ONE].pick(cluster.now)] if each]
        cluster.turn(POLL)
        cluster.turn(POLL)
    assert picked == ["192.0.2.1", "192.0.2.2", "192.0.2.3"] * 2


def test_only_the_living_are_picked() -> None:
    cluster = Cluster.at_rest(member(1, used=50), member(2))
    director = cluster.balancers[ONE]
    assert director.pick(cluster.now) == cluster.members[TWO]
    cluster.kill(TWO)
    last_heard = cluster.now - POLL
    assert director.pick(last_heard + HOLD - 0.01) == member(2)
    assert director.pick(last_heard + HOLD) == cluster.members[ONE]
    assert Balancer().pick(0.0) is None


def test_without_the_table_the_director_goes_on_and_nobody_else_begins() -> None:
    cluster = Cluster.at_rest(member(1, 3), member(2, 10))
    for _ in range(20):
        cluster.now += POLL
        for balancer in cluster.balancers.values():
            balancer.on_deadline(cluster.now)
            balancer.cut_off(cluster.now)
    assert cluster.directors() == [TWO]
    assert not cluster.balancers[ONE].wants_role(cluster.now)
    cluster.table = Table()
    cluster.turn(POLL)
    assert cluster.directors() == [TWO]


def test_a_director_that_hears_nothing_of_the_table_ends_with_its_lease() -> None:
    cluster = Cluster.at_rest(member(1))
    alone = cluster.balancers[ONE]
    assert alone.next_deadline() == pytest.approx(cluster.now + HOLD)
    alone.on_deadline(cluster.now + HOLD)
    assert not alone.directs
    assert alone.next_deadline() == float("inf")


def test_withdrawing_ends_it_all() -> None:
    cluster = Cluster.at_rest(member(1), member(2))
    leaver = cluster.balancers[ONE]
    leaver.withdraw()
    leaver.withdraw()
    leaver.heard(member(2), cluster.now)
    assert (leaver.me, leaver.director, leaver.members) == (None, None, [])
    assert not leaver.wants_role(cluster.now)
    assert [what for what, _ in leaver.news].count(News.STOPPED) == 1


def test_load_is_in_percent() -> None:
    assert member(1, used=25, limit=200).load == 12
    assert member(1, limit=0).load == 100


def test_a_heartbeat_travels_signed() -> None:
    key = derive_key("192.0.2.10", "lionking")
    sent = Member("192.0.2.1", 443, 5, 7, 100, fqdn="lab.example.test")
    record = encode(key, sent)
    assert decode_untrusted(key, record, Member) == sent
    with pytest.raises(RecordRefused, match="another failover key"):
        decode_untrusted(derive_key("192.0.2.10", "other"), record, Member)
    for bad in (
        {"ip": "nowhere"},
        {"fqdn": "evil.example\r\nSet-Cookie: x"},
        {"priority": 11},
        {"port": 0},
        {"used": -1},
    ):
        text = json.dumps(asdict(sent) | bad).encode()
        forged = b"asa-emu/1 member %s %s" % (_sign(key, b"member", text), text)
        with pytest.raises(RecordRefused, match=f"member: {next(iter(bad))}"):
            decode_untrusted(key, forged, Member)


def test_the_role_is_that_of_whoever_goes_on_at_the_address() -> None:
    cluster = Cluster.at_rest(member(1, 3), member(2, 10))
    cluster.balancers[TWO] = Balancer()
    cluster.turn(POLL)
    # it has not listened yet, and has the role all the same
    assert cluster.directors() == [TWO]
    assert cluster.told(TWO) == [News.STARTED, News.CREATED, News.DIRECTOR]
    cluster.told(ONE)
    for _ in range(8):
        cluster.turn(POLL)
    assert (cluster.directors(), cluster.told(ONE)) == ([TWO], [])


def test_nobody_is_picked_by_one_whose_lease_is_over() -> None:
    cluster = Cluster.at_rest(member(1, 10), member(2, 5))
    former = cluster.balancers[ONE]
    assert former.pick(cluster.now + HOLD - 0.01)
    assert former.pick(cluster.now + HOLD) is None
    assert cluster.balancers[TWO].pick(cluster.now) is None
    assert former.picks == 1


def test_a_peer_whose_heartbeat_was_not_read_yet_is_not_dead() -> None:
    cluster = Cluster.at_rest(member(1, 10), member(2, 5))
    director = cluster.balancers[ONE]
    cluster.told(ONE)
    cluster.now += HOLD - POLL - 0.1
    cluster.beat(ONE)
    cluster.now += 0.2
    director.mind_lease(cluster.now)
    assert director.pick(cluster.now) == member(1, 10)
    assert cluster.told(ONE) == []
    director.heard(member(2, 5), cluster.now)
    director.on_deadline(cluster.now)
    assert cluster.told(ONE) == []


def test_a_director_is_dead_as_a_director_even_if_its_lease_was_over_first() -> None:
    cluster = Cluster.at_rest(member(1, 3), member(2, 10))
    cluster.told(ONE)
    view = cluster.balancers[ONE]
    view.leased(None, 0.0, cluster.now)
    view.on_deadline(cluster.now + HOLD)
    assert cluster.told(ONE)[-1] is News.DIRECTOR_SILENT
