"""The learning rate as a function of the step.

paper:  factor · D^-0.5 · min(step^-0.5, step · warmup^-1.5)      Vaswani et al. 2017, arXiv:1706.03762, equation 3
linear: linear warm-up, constant, linear decay                    Hägele et al. 2024, arXiv:2405.18392
cosine: linear warm-up, then half a cosine                        Loshchilov & Hutter 2016, arXiv:1608.03983
"""

import math

from clearformer.config import CosineSchedule, LinearSchedule, PaperSchedule, Schedule


def learning_rate(schedule: Schedule, step: int, steps: int, d_model: int) -> float:
    """The learning rate of update `step`, counted from 1, out of `steps`."""
    if isinstance(schedule, PaperSchedule):
        return schedule.factor * d_model**-0.5 * min(step**-0.5, step * schedule.warmup_steps**-1.5)
    if step <= schedule.warmup_steps:
        return schedule.peak * step / schedule.warmup_steps
    if isinstance(schedule, LinearSchedule):
        decay_steps = min(schedule.cooldown * steps, steps - schedule.warmup_steps)
        left = (steps - step) / decay_steps  # 0 at the last step
        return schedule.final + (schedule.peak - schedule.final) * min(1.0, left)
    done = (step - schedule.warmup_steps) / max(1, steps - schedule.warmup_steps)
    return schedule.final + (schedule.peak - schedule.final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


if __name__ == "__main__":
    for step in (1, 50, 100, 500, 1000):
        cosine = learning_rate(CosineSchedule(peak=1e-3, final=1e-4, warmup_steps=100), step, 1000, 512)
        linear = learning_rate(LinearSchedule(peak=1e-3, warmup_steps=100, cooldown=0.5), step, 1000, 512)
        paper = learning_rate(PaperSchedule(warmup_steps=100), step, 1000, 512)
        print(f"step {step:>5}   cosine {cosine:.6f}   linear {linear:.6f}   paper {paper:.6f}")
