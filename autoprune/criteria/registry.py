"""Criteria and wrappers by name."""

from autoprune.criteria.activation import Activation
from autoprune.criteria.apoz import Apoz
from autoprune.criteria.bn_scale import BNScale
from autoprune.criteria.criterion import Criterion
from autoprune.criteria.feature_correlation import FeatureCorrelation
from autoprune.criteria.filter_correlation import FilterCorrelation
from autoprune.criteria.fisher import Fisher
from autoprune.criteria.flops import FlopsRegularized
from autoprune.criteria.geometric_median import GeometricMedian
from autoprune.criteria.gradient import Gradient
from autoprune.criteria.hessian import Hessian
from autoprune.criteria.kl_divergence import KLDivergence
from autoprune.criteria.l1 import L1
from autoprune.criteria.l2 import L2
from autoprune.criteria.lamp import LAMP
from autoprune.criteria.layer_norms import LayerL2, LayerMax, LayerMean, LayerRank
from autoprune.criteria.magnitude import Magnitude
from autoprune.criteria.mutual_information import MutualInformation
from autoprune.criteria.obs import OBS
from autoprune.criteria.oracle import Oracle
from autoprune.criteria.random import Random
from autoprune.criteria.taylor import Taylor
from autoprune.criteria.taylor_activation import TaylorActivation
from autoprune.criteria.trainable import Trainable
from autoprune.criteria.wanda import Wanda
from autoprune.criteria.wrapper import Wrapper

CRITERIA: dict[str, type[Criterion]] = {
    c.name: c
    for c in (
        Random,
        Magnitude,
        L1,
        L2,
        LAMP,
        BNScale,
        GeometricMedian,
        FilterCorrelation,
        FeatureCorrelation,
        Gradient,
        Taylor,
        TaylorActivation,
        Fisher,
        Hessian,
        OBS,
        Wanda,
        Activation,
        Apoz,
        MutualInformation,
        KLDivergence,
        Trainable,
        Oracle,
    )
}
"""What scores; each can be made without arguments."""

WRAPPERS: dict[str, type[Wrapper]] = {
    w.name: w for w in (LayerL2, LayerMean, LayerMax, LayerRank, FlopsRegularized)
}
"""What changes the scores of a criterion, which is the first argument."""
