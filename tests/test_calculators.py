from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from atomate2.forcefields.jobs import ForceFieldStaticMaker
from atomate2.forcefields.md import ForceFieldMDMaker
from jobflow import run_locally
from pymatgen.io.ase import AseAtomsAdaptor

from onfly.artifacts import ArtifactStore, RunWorkspace
from onfly.bayes.calibration import Calibration
from onfly.calculators import build_calculator, load_calculator
from onfly.library import ModelLibrary
from onfly.potentials import load_foundation
from onfly.settings import get_settings
from tests.library.conftest import crystal, water
