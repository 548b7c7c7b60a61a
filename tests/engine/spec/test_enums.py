"""The words of the YAML models are those of the enums that plans carry."""

from typing import get_args

from engine.spec.enums import OnAbsent, OnMissing
from engine.spec.models import FieldSpec, Spec


def test_the_models_and_the_enums_have_the_same_words() -> None:
    assert get_args(FieldSpec.model_fields["on_missing"].annotation) == tuple(OnMissing)
    assert get_args(Spec.model_fields["on_absent"].annotation) == tuple(OnAbsent)
