"""Real DAX: a Debian kernel with persistent memory, on which ext4 maps what is really MAP_SYNC."""

import random
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from guest.kernel import SOURCES, call
from guest.machine import SECONDS_MAX, Machine

TESTS = Path(__file__).parents[1]
GUEST = TESTS / "guest"
# All of the contract of backends and mappings, and what each structure does. An emulated processor
# takes 20 times as long, so models and sieges stay outside.
SUITE = (
    "guest/persistent.py",
    "test_backends.py",
    "test_mapping_protocol.py",
    "test_hashmap.py",
    "test_btree.py",
    "test_array.py",
    "test_transaction.py",
    "test_processes.py",
)
# The same of the backend `vas`, in a boot of its own together with all else of the module.
MODULE_SUITE = (
    "guest/module.py",
    "test_backends.py::test_contract",
    "test_mapping_protocol.py",
    "test_hashmap.py",
    "test_btree.py",
    "test_transaction.py",
    "test_processes.py",
    "test_fork.py",
    "test_vas.py",
    "test_permissions_vas.py",
    "test_vas_switch.py",
    "test_guard.py",
)
MODULE_CHOSEN = "(vas or module) and not against and not at_random and not commands"
FUZZED_CALLS, KILLS = 100_000, 300
# What the kernel says when something is wrong with it.
TROUBLE = "BUG|Oops|WARNING|general protection|Call Trace|refcount|leak"
CHOSEN = "(dax or persistent) and not against and not at_random"
ACKNOWLEDGEMENTS = range(500, 2000)


def pytest_command(*arguments: str, where: str = "VASMEM_TEST_PERSISTENT=/pmem") -> str:
    """Starts pytest in the guest with the plugins that the settings need, and no others."""
    options = (
        "-p",
        "pytest_timeout",
        "-p",
        "no:cacheprovider",
        "-o",
        f"timeout={SECONDS_MAX}",
        "--durations=10",
    )
    # The script, not `python -m pytest`, which would import vasmem from the checkout's folder.
    script = Path(sys.executable).with_name("pytest")
    command = shlex.join((str(script), *options, *arguments))
    variables = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {where}"
    storage = "HYPOTHESIS_STORAGE_DIRECTORY=/dev/shm/hypothesis"
    return f"cd {shlex.quote(str(TESTS.parent))} && {variables} {storage} {command}"


def program(name: str, *arguments: str) -> str:
    command = shlex.join((sys.executable, str(GUEST / name), *arguments))
    return f"cd / && PYTHONPATH={shlex.quote(str(TESTS))} {command}"


@pytest.mark.timeout(SECONDS_MAX)
def test_suite_on_dax(machine: Machine) -> None:
    print(machine.run(pytest_command("-k", CHOSEN, *(f"tests/{name}" for name in SUITE))))


@pytest.mark.timeout(2 * SECONDS_MAX)
def test_what_was_acknowledged_survives_a_crash(machine: Machine) -> None:
    seed = random.randrange(1 << 32)
    lines = random.Random(seed).choice(ACKNOWLEDGEMENTS)
    url = "dax:///pmem/orders"
    with machine.running(program("writer.py", url)) as emulator:
        machine.await_acknowledgements(emulator, lines)
    print(f"the power failed after {lines} acknowledgements")
    shutil.copy(machine.acknowledged, machine.exchange)
    print(machine.run(program("survivor.py", url, "/exchange/acknowledged")))


@pytest.mark.timeout(SECONDS_MAX)
def test_module(machine: Machine) -> None:
    """Fuzzed calls, killed victims, the suite; then nothing is left and the module goes."""
    victim = machine.exchange / "victim"
    source = str(GUEST / "victim.c")
    include = ("-I", str(SOURCES))
    call("gcc", "-O1", "-Wall", "-Werror", "-static", *include, "-o", str(victim), source)
    seed = random.randrange(1 << 32)
    tests = (f"tests/{name}" for name in MODULE_SUITE)
    suite = pytest_command("-k", MODULE_CHOSEN, *tests, where="VASMEM_TEST_MODULE=1")
    steps = (
        f"/exchange/victim fuzz {seed} {FUZZED_CALLS}",
        f"/exchange/victim kill {seed} {KILLS}",
        "[ $(wc -l </proc/vas) = 1 ]",
        "[ $(cat /sys/module/vas/refcnt) = 0 ]",
        f"({suite})",
        "[ $(wc -l </proc/vas) = 1 ]",
        "/sbin/rmmod vas",
        f"! dmesg | grep -E '{TROUBLE}'",
    )
    print(machine.run(" && ".join(steps)))
