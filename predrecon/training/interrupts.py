"""SIGTERM and Ctrl-C let the step in progress finish, so that a checkpoint can be written."""

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has written a checkpoint; the message says how to go on."""


class StopRequest:
    """A context in which SIGTERM and SIGINT set `.name` instead of ending the process.

    A second signal ends it at once, as usual; not where there are several processes (`patient`),
    since launchers and schedulers pass the same signal on more than once. Outside of the main
    thread, where Python delivers no signals, nothing changes.
    """

    name: str = ""

    def __init__(self, *, patient: bool = False):
        self.patient = patient

    def __enter__(self) -> "StopRequest":
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        self._restore()

    def _note(self, number, _frame):
        self.name = signal.Signals(number).name
        if not self.patient:
            self._restore()

    def _restore(self):
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
