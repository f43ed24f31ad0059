"""Velocities of a recording into the notes of a score, or of a transcription.

A score is aligned and prepared (refining.py), a velocity model reads its notes' velocities off the
recording (reading.py, engine.py), these are mapped (mapping.py) and written, reported and drawn.
Within ``amt transcribe``, velocities and beats are added to what was found (refining_engine.py).
"""
