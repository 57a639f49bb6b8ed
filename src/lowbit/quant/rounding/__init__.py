"""Rounding: from a layer's weights and the statistics of its inputs to codes and a bias."""
