"""Everything that is refused with a sentence for a person, apart from the host and the model.

LiverError
  SeriesRefused       the input cannot be trusted; no retry will change that
  ContoursDisagree    our own contours do not give the mask back: a fault of ours
  OutlineRefused      there is no such outline, or it does not fit its CT (dicom/roi_choice.py)
    EmptyOutline      it holds nothing (dicom/roi_choice.py)
  CutRefused          a cut that leaves no parts (dicom/liver_parts.py)
  ActivityRefused     no activity can be computed from these inputs (sirt/inputs.py)
  OutputRefused       results cannot be written there (cli/result_folder.py)
  CaseListRefused     a list of cases that cannot be read (evaluation/case_list.py)
  HarvestRefused      nothing can be harvested as it was asked (evaluation/harvest.py)
  NoConstancy         there is nothing to compare this installation with (cli/constancy_check.py)
  BrokerRefused       the broker's address is none that can be used (cluster/broker.py)
  CannotFetch         an Orthanc did not give a worker an image (cluster/fetching.py)
    NotLetIn          nor will it, as long as the worker is not told more (cluster/fetching.py)
  NameRefused         no Orthanc would count a worker of this name (cluster/worker.py)
  NotSetUp            a worker is not set up for a case (cluster/work.py)
  OrthancsRefused     a worker's file of Orthancs that cannot be read (cluster/orthancs.py)

The host's own tree is in host/errors.py, the model's in liver_unet/model_errors.py.
"""

from __future__ import annotations


class LiverError(Exception):
    """str(error) is one sentence: what is wrong, where, what to do. No patient data."""


class SeriesRefused(LiverError):
    """The series is not one that we may outline."""


class ContoursDisagree(LiverError):
    """The traced contours, rasterised by other code, are not the mask."""
