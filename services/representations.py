"""Vectors of products for the services: loaded by the setting, and refused beside another base than the one that they go with."""

from pathlib import Path
from typing import TYPE_CHECKING

from model.data.errors import Refused
from services.settings_common import Common, SettingError

if TYPE_CHECKING:
    from model.representation.placed import CatalogVectors

VARIABLE = "STRATAGEM_REPRESENTATION"


def vectors_of(settings: Common) -> "CatalogVectors | None":
    """Vectors of products; None where the setting names none.

    Raises:
        SettingError: the folder does not hold them, whole and of one version.
    """
    if not settings.representation:
        return None
    from model.representation.placed import CatalogVectors

    try:
        return CatalogVectors.load(Path(settings.representation))
    except Refused as error:
        raise SettingError(f"{VARIABLE}={settings.representation!r}: {error}") from None


def check_base(settings: Common, base_sha256: str) -> None:
    """See that vectors, where the setting names some, go with this base.

    Raises:
        SettingError: they go with another one, or cannot be read.
    """
    vectors = vectors_of(settings)
    if vectors is not None and vectors.embedder.base_sha256 != base_sha256:
        raise SettingError(
            f"{VARIABLE}={settings.representation!r}: made for the base {vectors.embedder.base_sha256[:12]}, this service has {base_sha256[:12]}:"
            " make them anew with --base"
        )
