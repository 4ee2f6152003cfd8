"""Baselines: what every forecast is compared with, one file each.

A new baseline is one new file here, or a package with an entry point of the group
``hmx.baselines``; :mod:`hmx.forecast.backtest.baselines.registry` has the protocol.

======================  =====================================================
``persistence``         nothing changes
``linear trend``        each pixel continues along its own line
``damped trend``        the same, but the line flattens by a fitted factor
``ridge``               change follows the state and change of neighbourhoods
``gradient boosting``   the same with trees, which give a distribution
``distance to edge``    change is as frequent as at that distance from modified land
======================  =====================================================

No baseline sees a step after the origin: each is fitted to a cube that ends there.
"""
