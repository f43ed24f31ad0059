"""The default microphone, through PortAudio (sounddevice, with the extra ``live``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import AudioError, UsageError


class Microphone:
    """Samples from the default input at its own rate; see ``pipe.LiveSource``.

    ``n_overflows`` counts how often samples were lost because they were not read in time.
    Raises UsageError where sounddevice or PortAudio is missing, AudioError where there is no
    input that can be opened.
    """

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise UsageError(
                "a microphone needs sounddevice: pip install 'amtcli[live]'"
            ) from error
        except OSError as error:  # the package is there, the library that it wraps is not
            raise UsageError(
                "a microphone needs the PortAudio library: install it (Debian and Ubuntu: "
                "apt install libportaudio2)"
            ) from error
        try:
            device = sounddevice.query_devices(kind="input")
            self.rate_hz = int(device["default_samplerate"])
            self._stream = sounddevice.InputStream(self.rate_hz, channels=1, dtype="float32")
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioError(
                f"no microphone can be opened ({error}); connect one, or choose a default input "
                "in the system's settings"
            ) from error
        self.n_overflows = 0

    def read(self, n_samples: int) -> NDArray[np.float32]:
        """Wait for ``n_samples`` samples, (samples, 1). Raises AudioError when it goes away."""
        import sounddevice

        try:
            samples, has_overflowed = self._stream.read(n_samples)
        except sounddevice.PortAudioError as error:
            raise AudioError(f"the microphone cannot be read any more ({error})") from error
        self.n_overflows += bool(has_overflowed)
        return np.asarray(samples, np.float32)

    def close(self) -> None:
        """Let go of the microphone."""
        self._stream.close()
