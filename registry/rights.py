"""The rights of identities, and of everybody, as one server knows them: all of one epoch of access."""

from dataclasses import dataclass

from registry.access.grants import EVERYTHING, Grant
from registry.metadata import epochs, grants, identities, signing_keys
from registry.metadata.database import Database, Transaction
from registry.metadata.identities import Identity
from registry.metadata.signing_keys import SigningKey
from registry.passwords import Passwords
from registry.tokens import Tokens

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Rights:
    identity: Identity
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class _Access:
    """What the epoch stands for, of one moment."""

    epoch: int
    keys: tuple[SigningKey, ...]
    is_guarded: bool
    bcrypt_cost: int
    everybodys: tuple[Grant, ...]


class KnownRights:
    """Of the epoch `epoch`; nothing before the first refresh. `is_open`: nobody can log in yet."""

    def __init__(self, database: Database, tokens: Tokens, passwords: Passwords) -> None:
        self.epoch = -1
        self.is_open = False
        self.everybodys: tuple[Grant, ...] = ()
        self._database = database
        self._tokens = tokens
        self._passwords = passwords
        self._order = epochs.Order()
        self._rights: dict[int, Rights] = {}

    async def refresh(self) -> None:
        """See whether identities, grants or keys have changed."""
        place = self._order.begin()
        if await self._database.read(epochs.get_epoch) == self.epoch:
            self._order.take(place)  # A reads before a change and hangs, B sees the change: A must not put it back
            return
        found = await self._database.read(_read_access)
        if not self._order.take(place):
            return  # what is there was read by a request that began later than this one
        self._tokens.use(found.keys)
        self._passwords.expect_bcrypt(found.bcrypt_cost)
        self.is_open = not found.is_guarded
        self.everybodys = found.everybodys
        self._rights.clear()
        self.epoch = found.epoch

    async def find(self, identity_id: int) -> Rights | None:
        """Those of an identity, asked for when they are not remembered; None when it is gone."""
        known = self._rights.get(identity_id)
        if known is None:
            # With their epoch: A reads, B sees a change and forgets all rights, A must not bring back those of before.
            epoch, known = await self._database.read(lambda tx: (epochs.get_epoch(tx), _read_rights(tx, identity_id)))
            if known and epoch == self.epoch and len(self._rights) < _MOST_REMEMBERED:
                self._rights[identity_id] = known
        return known

    def find_known(self, identity_id: int) -> Rights | None:
        """The same without a question, so None also says that nobody has asked yet."""
        return self._rights.get(identity_id)


def _read_access(tx: Transaction) -> _Access:
    return _Access(
        epochs.get_epoch(tx),
        tuple(signing_keys.list_keys(tx)),
        identities.is_guarded(tx),
        identities.find_bcrypt_cost(tx),
        tuple(grants.list_everybodys(tx)),
    )


def _read_rights(tx: Transaction, identity_id: int) -> Rights | None:
    identity = identities.get(tx, identity_id)
    if identity is None:
        return None
    return Rights(identity, (EVERYTHING,) if identity.is_admin else tuple(grants.list_all(tx, identity_id)))
