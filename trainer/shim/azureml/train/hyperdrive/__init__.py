"""`azureml.train.hyperdrive`: the names are here; sweeps are refused where one is made."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "submit a run for each choice of arguments and compare them by get_metrics()"

HyperDriveConfig = unsupported("HyperDriveConfig", _INSTEAD)
HyperDriveRun = unsupported("HyperDriveRun", _INSTEAD)


class PrimaryMetricGoal(object):
    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


BayesianParameterSampling = unsupported("BayesianParameterSampling", _INSTEAD)
GridParameterSampling = unsupported("GridParameterSampling", _INSTEAD)
RandomParameterSampling = unsupported("RandomParameterSampling", _INSTEAD)
BanditPolicy = unsupported("BanditPolicy", _INSTEAD)
MedianStoppingPolicy = unsupported("MedianStoppingPolicy", _INSTEAD)
NoTerminationPolicy = unsupported("NoTerminationPolicy", _INSTEAD)
TruncationSelectionPolicy = unsupported("TruncationSelectionPolicy", _INSTEAD)
choice = unsupported("choice", _INSTEAD)
loguniform = unsupported("loguniform", _INSTEAD)
normal = unsupported("normal", _INSTEAD)
lognormal = unsupported("lognormal", _INSTEAD)
qlognormal = unsupported("qlognormal", _INSTEAD)
qloguniform = unsupported("qloguniform", _INSTEAD)
qnormal = unsupported("qnormal", _INSTEAD)
quniform = unsupported("quniform", _INSTEAD)
randint = unsupported("randint", _INSTEAD)
uniform = unsupported("uniform", _INSTEAD)
