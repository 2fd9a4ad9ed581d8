"""Published scores of random play and of a human in 57 Atari games, and scores between them.

Source: Z. Wang et al., "Dueling Network Architectures for Deep Reinforcement Learning" (2016,
arXiv:1511.06581), the columns RANDOM and HUMAN of the table of raw scores with up to 30 no-ops. The
table extends the one of V. Mnih et al., "Human-level control through deep reinforcement learning"
(2015). Later work compares with it.
"""

# ROM, random play, human: points of a whole game. Three games a line.
_TABLE = """
alien             227.8  7127.7   enduro               0.0   860.5   qbert             163.9 13455.0
amidar              5.8  1719.5   fishing_derby      -91.7   -38.7   riverraid        1338.5 17118.0
assault           222.4   742.0   freeway              0.0    29.6   road_runner        11.5  7845.0
asterix           210.0  8503.3   frostbite           65.2  4334.7   robotank            2.2    11.9
asteroids         719.1 47388.7   gopher             257.6  2412.5   seaquest           68.4 42054.7
atlantis        12850.0 29028.1   gravitar           173.0  3351.4   skiing         -17098.1 -4336.9
bank_heist         14.2   753.1   hero              1027.0 30826.4   solaris          1236.3 12326.7
battle_zone      2360.0 37187.5   ice_hockey         -11.2     0.9   space_invaders    148.0  1668.7
beam_rider        363.9 16926.5   jamesbond           29.0   302.8   star_gunner       664.0 10250.0
berzerk           123.7  2630.4   kangaroo            52.0  3035.0   surround          -10.0     6.5
bowling            23.1   160.7   krull             1598.0  2665.5   tennis            -23.8    -8.3
boxing              0.1    12.1   kung_fu_master     258.5 22736.3   time_pilot       3568.0  5229.2
breakout            1.7    30.5   montezuma_revenge    0.0  4753.3   tutankham          11.4   167.6
centipede        2090.9 12017.0   ms_pacman          307.3  6951.6   up_n_down         533.4 11693.2
chopper_command   811.0  7387.8   name_this_game    2292.3  8049.0   venture             0.0  1187.5
crazy_climber   10780.5 35829.4   phoenix            761.4  7242.6   video_pinball   16256.9 17667.9
defender         2874.5 18688.9   pitfall           -229.4  6463.7   wizard_of_wor     563.5  4756.5
demon_attack      152.1  1971.0   pong               -20.7    14.6   yars_revenge     3092.9 54576.9
double_dunk       -18.6   -16.4   private_eye         24.9 69571.3   zaxxon             32.5  9173.3
"""

_FIELDS = _TABLE.split()

# Scores of random play and of a human, by ROM.
PUBLISHED: dict[str, tuple[float, float]] = {
    game: (float(random), float(human))
    for game, random, human in zip(_FIELDS[::3], _FIELDS[1::3], _FIELDS[2::3], strict=True)
}


def normalized(game: str, score: float) -> float | None:
    """Return the score scaled so random play is 0 and a human 1; None for a game without published
    scores.
    """
    if game not in PUBLISHED:
        return None
    random, human = PUBLISHED[game]
    return (score - random) / (human - random)
