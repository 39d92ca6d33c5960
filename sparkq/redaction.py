"""The one function that takes out credentials: every text that leaves the program goes through it.

Errors of sparkq do so when they are made, loggers of `get_logger` when they are called, and `sparkq.cli` with all that it prints:
results, warnings, tracebacks, other packages' log lines. Manifests and pages of reports do so when they are written. Only the
rows of a table of uris keep these as they are: by them an image is found again.
"""
from __future__ import annotations

import logging
import re
from typing import Any

__all__ = ["carries_credentials", "get_logger", "shown", "shown_values"]

# A secret may hold any character, slashes and at signs with them: it is taken to end at the last "@" before a space. In a
# uri of an object store only a key stands before a colon, so that there is a secret even where the text was cut before the "@".
# In another uri a port may follow, and "@" in a path. A file has no credentials.
_STORE = r"(?:s3[an]?|gs|gcs|oss|cosn?|obs|swift|wasbs?|abfss?)"
_CREDENTIALS = re.compile(
    rf"""
    (?P<store>{_STORE}:/+)(?:[^\s/:,]*:\S*@ | [^\s/]*@ | [^\s/:,]*:(?!//)[\w%+/=]\S*)
  | (?P<other>(?!file:)[a-z][a-z0-9+.-]{0,30}://)(?:[^\s/:,]*:(?![0-9]+/)\S*@ | [^\s/]*@)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_S3_CREDENTIALS = re.compile(r"s3[an]?:/+(?:[^/:,]*:|[^/]*@)", re.IGNORECASE)


def shown(text: str) -> str:
    """Return a text as it may leave the program: with ``***`` in the place of the user, key and secret of every uri in a text.

    Rather too much is taken out than too little: of a uri with credentials also what follows up to a later ``@``.
    """
    if ":/" not in text:
        return text
    return _CREDENTIALS.sub(lambda found: f"{found['store'] or found['other']}***{'@' * found[0].endswith('@')}", text)


def shown_values(value: Any) -> Any:
    """Redact each text in a structure of mappings and sequences, as JSON has them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {shown(key) if isinstance(key, str) else key: shown_values(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown_values(inner) for inner in value]
    return value


def carries_credentials(uri: str) -> bool:
    """Whether a uri of S3 has a key in it, or what can only be one: no name of a bucket has a colon."""
    return _S3_CREDENTIALS.match(uri) is not None


def get_logger(name: str) -> logging.Logger:
    """Get the logger of a module; its lines are redacted, whoever writes them down."""
    logger = logging.getLogger(name)
    logger.addFilter(_redact_record)
    return logger


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = shown(record.getMessage()), None
    return True
