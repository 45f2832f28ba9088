"""One line per thing that happened: JSON for machines, colours for a terminal.

Processes call `configure` once; modules take `structlog.get_logger()`.
"""

import logging
import sys
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str, process: str) -> None:
    """Send this process's log to standard error; `process` is in every line."""
    terminal = sys.stderr.isatty()
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    factory: Any
    if terminal:
        processors.append(structlog.dev.ConsoleRenderer())
        factory = structlog.PrintLoggerFactory(cast("TextIO", _Terminal()))
    else:
        processors += [structlog.processors.format_exc_info, _render_json]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    # Libraries speak through the standard logging: their warnings belong in the same place.
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)


class _Terminal:
    """Standard error as it is when a line is written: a panel on the screen takes its place."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Forward(logging.Handler):
    """Standard log records, written by our logger."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return _encode(event)
