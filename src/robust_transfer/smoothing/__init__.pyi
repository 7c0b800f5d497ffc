"""Names of the package, imported on first use."""

from .certification import ABSTAIN as ABSTAIN
from .certification import Certificate as Certificate
from .certification import certify as certify
from .certification import certify_counts as certify_counts
from .certification import predict as predict
