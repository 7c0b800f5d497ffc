"""Names of the package, imported on first use."""

from .backbones import backbone as backbone
from .backbones import num_features as num_features
from .card import model_card as model_card
from .checkpoint import load_model as load_model
from .checkpoint import save_model as save_model
from .denoiser import Denoised as Denoised
from .denoiser import DnCNN as DnCNN
from .denoiser import read_denoiser as read_denoiser
from .export import export_model as export_model
from .importers import describe_file as describe_file
from .importers import import_checkpoint as import_checkpoint
from .importers import import_stage as import_stage
from .importers import published_weights as published_weights
from .importers import torchvision_weights as torchvision_weights
from .metadata import read_metadata as read_metadata
from .normalized import Classifier as Classifier
from .normalized import build_model as build_model
from .normalized import replace_head as replace_head
