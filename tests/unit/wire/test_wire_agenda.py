import math

from asa_emu.wire.agenda import Agenda


class Alarm:
    """A machine that is nothing but its deadline."""

    def __init__(self, at: float) -> None:
        self.at = at

    def next_deadline(self) -> float:
        return self.at


def agenda_of(*alarms: Alarm) -> Agenda[Alarm]:
    agenda: Agenda[Alarm] = Agenda()
    for alarm in alarms:
        agenda.add(alarm, alarm.next_deadline())
    return agenda


def test_the_earliest_comes_first_and_equals_in_the_order_they_were_filed() -> None:
    late, first, second = Alarm(9.0), Alarm(5.0), Alarm(5.0)
    agenda = agenda_of(late, first, second)
    assert agenda.next_deadline() == 5.0
    assert agenda.pop_due(4.9) == []
    assert agenda.pop_due(5.0) == [first, second]
    assert agenda.next_deadline() == 9.0


def test_a_deadline_that_moved_later_is_silently_filed_anew() -> None:
    alarm = Alarm(5.0)
    agenda = agenda_of(alarm)
    alarm.at = 8.0
    assert agenda.next_deadline() == 5.0
    assert agenda.pop_due(5.0) == []
    assert agenda.next_deadline() == 8.0
    assert agenda.pop_due(8.0) == [alarm]


def test_what_was_popped_comes_back_when_touched() -> None:
    alarm = Alarm(5.0)
    agenda = agenda_of(alarm)
    assert agenda.pop_due(5.0) == [alarm]
    assert agenda.pop_due(5.0) == []
    assert agenda.next_deadline() == math.inf
    assert alarm in agenda
    alarm.at = 10.0
    agenda.touch(alarm)
    assert agenda.next_deadline() == 10.0


def test_touch_moves_a_deadline_earlier_and_leaves_a_later_one_alone() -> None:
    alarm = Alarm(50.0)
    agenda = agenda_of(alarm)
    alarm.at = 60.0
    agenda.touch(alarm)
    assert agenda.next_deadline() == 50.0
    alarm.at = 20.0
    agenda.touch(alarm)
    assert agenda.next_deadline() == 20.0
    assert agenda.pop_due(100.0) == [alarm]


def test_what_was_discarded_stays_out() -> None:
    alarm, other = Alarm(5.0), Alarm(5.0)
    agenda = agenda_of(alarm, other)
    agenda.discard(alarm)
    agenda.discard(alarm)
    agenda.touch(alarm)
    assert alarm not in agenda
    assert len(agenda) == 1
    assert agenda.pop_due(5.0) == [other]


def test_a_popped_item_can_be_discarded() -> None:
    alarm = Alarm(5.0)
    agenda = agenda_of(alarm)
    agenda.pop_due(5.0)
    agenda.discard(alarm)
    assert len(agenda) == 0


def test_an_item_without_a_deadline_waits_for_one() -> None:
    alarm = Alarm(math.inf)
    agenda = agenda_of(alarm)
    assert agenda.next_deadline() == math.inf
    assert agenda.pop_due(1e18) == []
    alarm.at = 3.0
    agenda.touch(alarm)
    assert agenda.pop_due(3.0) == [alarm]


def test_adding_again_replaces_the_instant() -> None:
    alarm = Alarm(5.0)
    agenda = agenda_of(alarm)
    alarm.at = 7.0
    agenda.add(alarm, 7.0)
    assert len(agenda) == 1
    assert agenda.next_deadline() == 7.0


def test_a_storm_of_short_sessions_leaves_nothing_behind() -> None:
    keeper = Alarm(1e6)
    agenda = agenda_of(keeper)
    for number in range(10_000):
        alarm = Alarm(1000.0 + number)
        agenda.add(alarm, alarm.at)
        agenda.discard(alarm)
    assert len(agenda._instants) < 200
    assert agenda.next_deadline() == 1e6
    assert agenda.pop_due(1e6) == [keeper]


def test_a_vacant_instant_is_used_again() -> None:
    gone, alarm = Alarm(5.0), Alarm(5.0)
    agenda = agenda_of(gone)
    agenda.discard(gone)
    agenda.add(alarm, 5.0)
    assert agenda.pop_due(5.0) == [alarm]
    agenda.add(gone, 6.0)
    agenda.discard(gone)
    assert agenda.pop_due(7.0) == []
    assert agenda._vacant == 0
