"""What can happen to a simulated watchdog, and at which moments of what it does."""

from typing import Final

from .healing_dogs import Dog, Killed

ROUND_MOMENTS: Final = ("after read", "before answer", "after answer", "before learn", "after learn")
PASS_MOMENTS: Final = (
    "after lock",
    "before pauses",
    "after pauses",
    "after open_intents",
    "after reread",
    "before intend",
    "after intend",
    "before reset",
    "after reset",
    "before conclude",
    "after conclude",
)
RESET_MOMENTS: Final = ("after lock", "after reread", "before intend", "after intend", "before reset", "after reset")
ROW_HAPPENINGS: Final = (
    "row is done",
    "row is put back by hand",
    "row is claimed again",
    "lock is lost",
    "other heals",
)
HAPPENINGS: Final = (
    "killed",
    "ledger fails",
    "ledger fails once",
    "answer is lost",
    "lock is lost",
    "other heals",
    "other goes round",
    "other starts anew",
    "row is done",
    "row is put back by hand",
    "row is claimed again",
    "worker dies",
    "paused",
    "database goes",
    "database clock is set",
    "wall clock is set",
    "time passes",
)


def happen_to(dog: Dog, other: Dog, what: str) -> None:  # noqa: C901, PLR0912  one case for each
    """Let something happen; `other` is another watchdog of the same queue."""
    world = dog.world
    job = dog.at_job if dog.at_job in world.claims else next(iter(world.claims), None)
    match what:
        case "killed":
            raise Killed
        case "ledger fails":
            dog.has_ledger = False
        case "ledger fails once":
            dog.fails_once = True
        case "answer is lost":
            dog.loses_answer = True
        case "lock is lost":
            world.holders.clear()
        case "other heals" if not other.is_killed:
            other.heal()
        case "other goes round" if not other.is_killed:
            other.go_round()
        case "other starts anew":
            other.end()
            other.start()
        case "row is done" if job is not None:
            world.finish(job)
        case "row is put back by hand" if job is not None:
            world.release(job)
        case "row is claimed again" if job is not None:
            world.claim_again(job)
        case "worker dies" if job is not None:
            world.kill(world.claims[job].process, "")
        case "paused":
            dog.opened.brakes.pause(None, why="work", actor="ann", at=dog.now())
        case "database goes":
            world.is_database_down = True
        case "database clock is set":
            world.set_database_clock(70)
        case "wall clock is set":
            world.set_wall_clock(dog.name, -70)
        case "time passes":
            world.advance(200)
