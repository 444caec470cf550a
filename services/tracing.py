"""Spans of what the services publish, to an OpenTelemetry collector where `STRATAGEM_OTLP_ENDPOINT` names one.

What is said of an item (`streaming.facts.ITEMS`) with a `traceparent` becomes a span of that trace, whose ids follow from the item's own
(`streaming.contracts.tracing`): spans of several services and of a replay fit together without anything being passed between them.
No personal data: a span has the ids that a line of the log has.
"""

import logging
from typing import TYPE_CHECKING, Any

from services.logs import ids_of
from services.settings import Common, SettingError
from streaming.facts import ITEMS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_NS = 1_000_000_000
_MASK_64 = (1 << 64) - 1


class Spans(logging.Handler):
    """Turns items into spans; hands them over in a thread of its own, a few seconds later."""

    def __init__(self, service: str, exporter: "SpanExporter", share: float) -> None:
        """Nothing was said yet.

        Args:
            share: of the traces that are exported; the same ones in every service.
        """
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        super().__init__()
        self._resource = Resource({"service.name": f"stratagem-{service}", "service.namespace": "stratagem"})
        self._processor = BatchSpanProcessor(exporter)
        self._share = share

    def emit(self, record: logging.LogRecord) -> None:
        """One item; one without a `traceparent`, or whose trace is not to be sampled, is none."""
        header = getattr(record, "traceparent", "")
        if not header:
            return
        _, trace_id, span_id, flags = header.split("-")
        if int(flags, 16) & 1 and int(trace_id, 16) & _MASK_64 < self._share * (_MASK_64 + 1):
            self._processor.on_end(self._span(record, int(trace_id, 16), int(span_id, 16)))

    def close(self) -> None:
        """Hand over what is left."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # it is untyped there
        super().close()

    def _span(self, record: logging.LogRecord, trace_id: int, span_id: int) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        parent = getattr(record, "parent_id", "")
        ends_s = record.created
        return ReadableSpan(
            name=record.getMessage(),
            context=SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags),
            parent=SpanContext(trace_id, int(parent, 16), is_remote=True, trace_flags=flags) if parent else None,
            resource=self._resource,
            kind=SpanKind.INTERNAL,
            attributes={f"stratagem.{name}": str(value) for name, value in ids_of(record).items()},
            start_time=int(min(ends_s, getattr(record, "began_s", ends_s)) * _NS),
            end_time=int(ends_s * _NS),
        )


def configure(settings: Common, service: str) -> None:
    """Export from here on, where the settings name a collector; call once, after logging was configured.

    Raises:
        SettingError: the packages of the extra `tracing` are missing.
    """
    if not settings.otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise SettingError("STRATAGEM_OTLP_ENDPOINT needs the extra `tracing`: bash deploy/setup.sh tracing") from None
    items = logging.getLogger(ITEMS)
    items.propagate = settings.log_items  # items that nobody wants to read in the log
    items.setLevel(logging.INFO)
    items.addHandler(Spans(service, OTLPSpanExporter(settings.otlp_endpoint), settings.trace_share))
