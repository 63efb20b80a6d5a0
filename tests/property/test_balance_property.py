"""Whatever members fail, leave and come back: one director at most, and only the living are picked."""

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asa_emu.ha.balance import HOLD, POLL, Balancer, Member, Table

NUMBERS = st.integers(0, 3)


@dataclass
class Box:
    """One member's machine."""

    member: Member
    balancer: Balancer = field(default_factory=Balancer)
    up: bool = True
    last_beat: float = -1e9


class Members(RuleBasedStateMachine):
    """Four members that reach the table whenever hypothesis lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.now = 1000.0
        self.boxes = [Box(Member(f"192.0.2.{n}", 443, (5, 9, 5, 1)[n], 0, 10)) for n in range(4)]

    def beat(self, box: Box) -> None:
        balancer = box.balancer
        balancer.on_deadline(self.now)
        balancer.take_part(box.member, self.now)
        roll = self.table.meet(box.member, balancer.wants_role(self.now), self.now)
        for row, age in roll.rows:
            balancer.heard(row, self.now - age)
        balancer.leased(roll.director, self.now + roll.left, self.now)
        box.last_beat = self.now

    @rule(number=NUMBERS, used=st.integers(0, 12))
    def lays_down_a_heartbeat(self, number: int, used: int) -> None:
        box = self.boxes[number]
        if box.up:
            box.member = replace(box.member, used=used)
            self.beat(box)

    @rule(number=NUMBERS)
    def dies(self, number: int) -> None:
        self.boxes[number].up = False

    @rule(number=NUMBERS)
    def comes_up(self, number: int) -> None:
        box = self.boxes[number]
        if not box.up:
            box.up, box.balancer = True, Balancer()
            self.beat(box)

    @rule(number=NUMBERS)
    def leaves(self, number: int) -> None:
        box = self.boxes[number]
        if box.up:
            self.table.meet(replace(box.member, leaving=True), False, self.now)
            box.balancer.withdraw()
            box.up, box.last_beat = False, -1e9

    @rule(seconds=st.sampled_from([0.01, POLL, HOLD / 2, HOLD, 3 * HOLD]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for box in self.boxes:
            box.balancer.on_deadline(self.now)
            assert box.balancer.next_deadline() > self.now

    @rule(number=NUMBERS)
    def sends_a_client(self, number: int) -> None:
        box = self.boxes[number]
        if box.up and box.balancer.directs:
            picked = box.balancer.pick(self.now)
            assert picked is not None
            target = next(each for each in self.boxes if each.member.address == picked.address)
            assert target is box or target.last_beat + HOLD >= self.now - 1e-6 or not target.up
            assert self.now - self.heard_at(box, picked.address) <= HOLD

    def heard_at(self, box: Box, address: str) -> float:
        return box.balancer._seats[address].at

    @precondition(lambda self: any(box.up for box in self.boxes))
    @rule()
    def comes_to_rest(self) -> None:
        for _ in range(12):
            self.now += POLL
            for box in self.boxes:
                if box.up:
                    self.beat(box)
        living = {box.member.address for box in self.boxes if box.up}
        views = [box.balancer for box in self.boxes if box.up]
        assert sum(view.directs for view in views) == 1
        assert len({view.director for view in views}) == 1
        for view in views:
            assert {member.address for member in view.members} == living

    @invariant()
    def at_most_one_directs(self) -> None:
        for box in self.boxes:
            box.balancer.on_deadline(self.now)
        assert sum(box.up and box.balancer.directs for box in self.boxes) <= 1


TestMembers = Members.TestCase
