"""An emulated hour in the timers of many idle tunnels: how much CPU a sleeping headend needs.

Each tunnel has DPD every 30 s, answered half a second later, and a keepalive every 20 s, in one agenda, which
is driven from deadline to deadline as the headend's pacing task drives it. The tunnels came up spread over a
minute. The goal is 20,000 tunnels in less than 60 s.
"""

import time
from collections import Counter
from typing import Any

from asa_emu.wire.agenda import Agenda
from asa_emu.wire.liveness import Action, Liveness, LivenessTimers

HOUR_S = 3600.0
MOST_TUNNELS = 20_000
ANSWER_AFTER_S = 0.5


def run(seconds: float) -> dict[str, Any]:
    """An hour of as many tunnels as take about `seconds` of CPU, at most 20,000."""
    count = min(MOST_TUNNELS, max(10, int(2500 * seconds)))
    epoch = 1_700_000_000.0
    timers = LivenessTimers(dpd_interval=30.0, keepalive_interval=20.0)
    agenda: Agenda[Liveness] = Agenda()
    for number in range(count):
        liveness = Liveness(timers, epoch + 60.0 * number / count)
        agenda.add(liveness, liveness.next_deadline())

    actions: Counter[Action] = Counter()
    asked = wakeups = 0
    started = time.process_time()
    while (now := agenda.next_deadline()) <= epoch + HOUR_S:
        wakeups += 1
        answered = now + ANSWER_AFTER_S
        for liveness in agenda.pop_due(now):
            asked += 1
            for action in liveness.on_deadline(now):
                actions[action] += 1
                if action is Action.SEND_DPD:
                    liveness.last_received_at = answered
            agenda.touch(liveness)
    cpu_s = time.process_time() - started

    return {
        "tunnels": count,
        "emulated_s": HOUR_S,
        "cpu_s": round(cpu_s, 2),
        "wakeups": wakeups,
        "due": asked,
        "us_per_due": round(cpu_s / max(asked, 1) * 1e6, 2),
        "us_per_tunnel_second": round(cpu_s / count / HOUR_S * 1e6, 3),
        "actions": {action.name: actions[action] for action in Action},
    }
