"""gym-lorenz: the left lobe with a reward of both signs."""

from dataclasses import replace

from envs.published import lorenz_left_lobe

TASK = replace(
    lorenz_left_lobe.TASK,
    name="LorenzSign",
    settings={**lorenz_left_lobe.TASK.settings, "outside": -1.0},
    source="G. Beintema, A. Corbetta, L. Biferale, F. Toschi, Journal of Turbulence 21, 585 (2020), in the "
    "discrete variant of J. Viquerat's gym-lorenz.",
    remarks="As LorenzLeftLobe, with reward -1 outside. Reported: -356 uncontrolled, 620 with PPO, with that "
    "code's own horizon.",
)
