"""The mathematics of losses, as pure functions of arrays by mathematical object: no network is known here."""
