"""Settings of a repository: what is stored can be read again by all who ask for it."""

import pytest

from registry.lifecycle.settings import SettingInvalid
from registry.oci.names import RepositoryName
from tests.history.moving import Past
from tests.scenarios.images import make_blob

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("days", ["00000000009999", "0000000000007", "9" * 5_000])
async def test_number_with_too_many_digits(past: Past, days: str) -> None:
    """It is refused, nothing is stored, and pushes and changes of the settings go on."""
    await past.push_blob("a", make_blob("blob"))
    before = await past.registry.repositories.show(RepositoryName("a"))
    with pytest.raises(SettingInvalid, match="undelete_days must be a number"):
        await past.set("a", undelete_days=days)
    assert await past.registry.repositories.show(RepositoryName("a")) == before
    await past.push_image("a", "image", "v")
    await past.set("a", undelete_days="3650")
