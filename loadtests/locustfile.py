"""What locust loads: the users and the course of a run, as the plan in the file LOAD_PLAN says.

`load.py` writes that file and starts locust. By hand, with locust's own pages in the browser:

    PROFILE=cache locust -f loadtests/locustfile.py --host 127.0.0.1:6379
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from locust import LoadTestShape, events
from locust.runners import MasterRunner
from traffic import users
from traffic.plan import PROFILES, Plan
from traffic.resp_connection import Address
from traffic.resp_user import RespUser
from traffic.samples import PERIOD_S, Recorder

_PLAN_FILE = os.environ.get("LOAD_PLAN")


def _plan_by_hand() -> Plan:
    name = os.environ.get("PROFILE", "mixed")
    profile = PROFILES[name]
    folder = tempfile.mkdtemp(prefix="load-")
    return Plan(name, "", profile.users, profile.rate, float("inf"), 20_000, folder, "by-hand")


PLAN = Plan.load(Path(_PLAN_FILE)) if _PLAN_FILE else _plan_by_hand()


def _users_of(plan: Plan) -> dict[str, type[RespUser]]:
    """The classes of the plan's mix, in its proportions."""
    found = {name: getattr(users, name) for name in plan.mix}
    for name, user in found.items():
        user.weight = plan.mix[name]
    return found


# Locust takes the classes of users that it finds in this module
globals().update(_users_of(PLAN))


class Course(LoadTestShape):  # type: ignore[misc]
    """As many users as the plan has at each time. By hand the browser says how many."""

    abstract = _PLAN_FILE is None

    def tick(self) -> tuple[int, float] | None:
        count = PLAN.users_at(self.get_run_time())
        # All of a stage at once: who is to send a request is there when it is due
        return None if count is None else (count, float(count))


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Any, **_: Any) -> None:
    RespUser.plan = PLAN
    RespUser.address = Address.parse(PLAN.server or environment.host)
    RespUser.recorder = Recorder(Path(PLAN.folder))
    threading.Thread(target=_write_now_and_then, args=(environment,), daemon=True).start()


def _write_now_and_then(environment: Any) -> None:
    """Locust has made a light thread of this one, which takes turns with the users."""
    while True:
        time.sleep(PERIOD_S)
        _write(environment)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _write(environment: Any, **_: Any) -> None:
    """What is new; a master of several processes has no users, and nothing to write."""
    if hasattr(RespUser, "recorder") and not isinstance(environment.runner, MasterRunner):
        RespUser.recorder.users = environment.runner.user_count
        RespUser.recorder.write()
