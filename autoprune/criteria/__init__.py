"""Criteria: which units of a group, or which weights, matter most. Higher = stays."""

from autoprune.criteria.activation import Activation
from autoprune.criteria.apoz import Apoz
from autoprune.criteria.bn_scale import BNScale
from autoprune.criteria.criterion import Context, Criterion
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
from autoprune.criteria.make import make_criterion
from autoprune.criteria.mutual_information import MutualInformation
from autoprune.criteria.obs import OBS
from autoprune.criteria.oracle import Oracle
from autoprune.criteria.random import Random
from autoprune.criteria.rank import rank
from autoprune.criteria.registry import CRITERIA, WRAPPERS
from autoprune.criteria.scoring import statistics_of, unit_scores, weight_scores
from autoprune.criteria.taylor import Taylor
from autoprune.criteria.taylor_activation import TaylorActivation
from autoprune.criteria.trainable import Trainable
from autoprune.criteria.wanda import Wanda
from autoprune.criteria.wrapper import Wrapper

__all__ = [
    "CRITERIA",
    "L1",
    "L2",
    "LAMP",
    "OBS",
    "WRAPPERS",
    "Activation",
    "Apoz",
    "BNScale",
    "Context",
    "Criterion",
    "FeatureCorrelation",
    "FilterCorrelation",
    "Fisher",
    "FlopsRegularized",
    "GeometricMedian",
    "Gradient",
    "Hessian",
    "KLDivergence",
    "LayerL2",
    "LayerMax",
    "LayerMean",
    "LayerRank",
    "Magnitude",
    "MutualInformation",
    "Oracle",
    "Random",
    "Taylor",
    "TaylorActivation",
    "Trainable",
    "Wanda",
    "Wrapper",
    "make_criterion",
    "rank",
    "statistics_of",
    "unit_scores",
    "weight_scores",
]
