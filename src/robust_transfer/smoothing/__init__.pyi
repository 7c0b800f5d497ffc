"""Names of the package, imported on first use."""

from .certification import ABSTAIN as ABSTAIN
from .certification import Certificate as Certificate
from .certification import certify as certify
from .certification import certify_counts as certify_counts
from .prediction import predict as predict
from .prediction import predict_from as predict_from
from .prediction import top_k as top_k
