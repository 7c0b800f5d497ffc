"""Names of the package, imported on first use."""

from .adversarial_weights import weight_perturbation as weight_perturbation
from .averaging import averaging_decay as averaging_decay
from .building import build as build
from .byol import byol_loss as byol_loss
from .consistency import consistency_loss as consistency_loss
from .dynacl import dynacl_schedule as dynacl_schedule
from .eps_schedule import scheduled_eps as scheduled_eps
from .freezing import frozen_parameters as frozen_parameters
from .macer import macer_loss as macer_loss
from .moco import enqueue as enqueue
from .moco import info_nce as info_nce
from .momentum import ema_decay as ema_decay
from .objective import Metrics as Metrics
from .objective import Noise as Noise
from .objective import Objective as Objective
from .objective import Progress as Progress
from .objective import Views as Views
from .pretext import pretext_loss as pretext_loss
from .pretext import rotate_quarters as rotate_quarters
from .pretext import shuffle_patches as shuffle_patches
from .simclr import nt_xent as nt_xent
from .smoothed import smoothed_cross_entropy as smoothed_cross_entropy
from .smoothmix import smoothmix_loss as smoothmix_loss
from .trades import trades_loss as trades_loss
