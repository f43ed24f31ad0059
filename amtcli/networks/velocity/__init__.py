"""Networks that hear how hard the notes of a given score were struck.

``score_informed`` joins a branch, which listens, and a module, which corrects what the branch
says by what the score says; ``film_unet`` has the score inside. After the published program of
"Score-Informed MIDI Velocity Estimation" (arXiv 2508.07757), whose branches are those of Kong et
al. (HPT), of HPPNet, and of a multi-scale network for dynamics.
"""
