"""What can be wrong with a retraining job."""

from __future__ import annotations

from lang1.errors import Lang1Error


class SpecError(Lang1Error):
    """The job's file names an unknown key or an impossible value; the message names the key."""

    code = "invalid"


class RetrainingError(Lang1Error):
    """The job cannot go on; the message says where it stood and what to do. The champion serves as before."""

    code = "exception"


class TooLittleDataError(Lang1Error):
    """There are too few mature labels to judge, or to fit, a challenger: the job is held, and nothing is wrong."""

    code = "business-rule"


class HoldoutError(Lang1Error):
    """A folder is not a holdout, or was changed after it was drawn."""

    code = "invalid"
