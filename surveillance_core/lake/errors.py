"""What can go wrong with a lake.

LakeError
 ├── DamagedError    a listed file is not what was published
 ├── OriginError     real and simulated data would meet in one lake
 ├── PublishError    a file could not be published; nothing of it is visible
 └── SchemaError     rows do not fit the table they are meant for
"""


class LakeError(Exception):
    """Base of the lake's errors."""


class DamagedError(LakeError):
    """A listed file cannot be read, or is not what was published; says in what way."""


class OriginError(LakeError):
    """A process of one kind was pointed at a lake of the other."""


class PublishError(LakeError):
    """A file could not be published; nothing of it became visible."""


class SchemaError(LakeError):
    """Rows do not fit their table; names the column and the cause."""
