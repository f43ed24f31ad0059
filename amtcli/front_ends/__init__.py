"""Front-ends: samples to features. One file each; a new one is added to ``FRONT_ENDS``."""

from __future__ import annotations

from typing import Any

from amtcli.front_ends.bark import Bark, BarkConfig
from amtcli.front_ends.clock import Clock, ClockConfig
from amtcli.front_ends.cqt import Cqt, CqtConfig
from amtcli.front_ends.front_end import FrontEnd
from amtcli.front_ends.hcqt import Hcqt, HcqtConfig
from amtcli.front_ends.log_frequency import LogFrequency, LogFrequencyConfig
from amtcli.front_ends.log_mel import LogMel, LogMelConfig
from amtcli.front_ends.multi_window_log_mel import MultiWindowLogMel, MultiWindowLogMelConfig

FRONT_ENDS: dict[str, tuple[type[Any], type[FrontEnd]]] = {
    "bark": (BarkConfig, Bark),
    "clock": (ClockConfig, Clock),
    "cqt": (CqtConfig, Cqt),
    "hcqt": (HcqtConfig, Hcqt),
    "log_frequency": (LogFrequencyConfig, LogFrequency),
    "log_mel": (LogMelConfig, LogMel),
    "multi_window_log_mel": (MultiWindowLogMelConfig, MultiWindowLogMel),
}
