"""Measured properties of ale-py's ROMs; ``python -m benchmarks.roms`` measures them again.

A plain reset (and so the autoreset) boots the console, but keeps its 128 bytes of RAM from the
previous episode. Most games overwrite them all while they boot. Others keep some, or seed their
random numbers with them, so their episodes differ from the same episodes after a fresh start. A
seeded reset builds the console anew, and is a fresh start in every ROM.
"""

from ale_py import ALEInterface, roms

# With ale-py 0.12.1, a reset of these ROMs gave the whole state of a fresh start, whatever had been
# played before. A ROM that is not listed is taken as one that carries state.
FRESH_AFTER_RESET = frozenset(
    """
    adventure air_raid alien amidar assault asterix asteroids atlantis atlantis2 backgammon
    bank_heist basic_math battle_zone beam_rider berzerk blackjack bowling boxing breakout
    carnival casino centipede chopper_command crazy_climber darkchambers defender demon_attack
    donkey_kong double_dunk earthworld elevator_action enduro entombed et fishing_derby
    flag_capture freeway frogger frostbite galaxian gopher gravitar hero human_cannonball
    jamesbond journey_escape kaboom kangaroo keystone_kapers king_kong klax koolaid krull
    laser_gates lost_luggage mario_bros miniature_golf montezuma_revenge mr_do ms_pacman
    name_this_game othello pacman phoenix pitfall pitfall2 pong private_eye qbert riverraid
    road_runner robotank seaquest skiing solaris space_invaders star_gunner superman tennis
    tetris tic_tac_toe_3d trondead turmoil tutankham up_n_down venture video_checkers
    video_chess video_cube video_pinball wizard_of_wor word_zapper zaxxon
    """.split()  # noqa: SIM905 (a list would take a page)
)


def is_rom(game: str) -> bool:
    """Whether a game is one of ale-py's ROMs."""
    return game in roms.get_all_rom_ids()


def is_for_several(game: str) -> bool:
    """Whether a ROM needs several players; with such a ROM, ale-py ends the process."""
    return is_rom(game) and not ALEInterface.isSupportedROM(roms.get_rom_path(game))
