"""The usual door for events: FastAPI, pydantic models of each event, aiokafka with `acks=all`; as their documentation has it.

It asks for no key and keeps no rate: that is work our gateway does and this one does not.

Usage: python -m benchmarks.peers.fastapi_events KAFKA TOPIC PORT
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt

Text = Annotated[str, Field(min_length=1, max_length=255)]


class Line(BaseModel):
    """One product of a list or an order."""

    product_id: Text
    quantity: PositiveInt = 1
    price: NonNegativeFloat | None = None
    discount: NonNegativeFloat | None = None


class ProductProperties(BaseModel):
    """Of one product."""

    product_id: Text
    quantity: PositiveInt = 1
    price: NonNegativeFloat | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    strategy_id: str | None = None


class ListProperties(BaseModel):
    """Of a shelf or a checkout."""

    list_id: str = ""
    category: str = ""
    order_id: str | None = None
    checkout_id: str | None = None
    products: list[Line] = []
    strategy_id: str | None = None


class SearchProperties(BaseModel):
    """Of a search."""

    query: Annotated[str, Field(max_length=1000)]


class OrderProperties(BaseModel):
    """Of an order."""

    order_id: Text
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    products: Annotated[list[Line], Field(min_length=1, max_length=1000)]
    total: NonNegativeFloat | None = None
    coupon: str | None = None
    strategy_id: str | None = None


class PromotionProperties(BaseModel):
    """Of a promotion."""

    promotion_id: str = ""
    creative: str = ""
    position: str = ""
    strategy_id: str | None = None


class Context(BaseModel):
    """Of a visit."""

    locale: Annotated[str, Field(max_length=35)] | None = None
    timezone: Annotated[str, Field(max_length=64)] | None = None
    consent: dict[str, Any] | None = None


class Base(BaseModel):
    """What every event has."""

    messageId: Text  # noqa: N815 -- Segment's name
    type: Literal["track"]
    userId: Text  # noqa: N815 -- Segment's name
    timestamp: datetime
    context: Context | None = None


class Viewed(Base):
    """One product was seen, clicked, put in the cart or taken out."""

    event: Literal["Product Viewed", "Product Clicked", "Product Added", "Product Added to Wishlist", "Product Removed"]
    properties: ProductProperties


class Listed(Base):
    """Several were seen or bought."""

    event: Literal["Product List Viewed", "Checkout Started"]
    properties: ListProperties


class Searched(Base):
    """A search."""

    event: Literal["Products Searched"]
    properties: SearchProperties


class Ordered(Base):
    """An order."""

    event: Literal["Order Completed"]
    properties: OrderProperties


class Promoted(Base):
    """A promotion was seen."""

    event: Literal["Promotion Viewed"]
    properties: PromotionProperties


Event = Annotated[Viewed | Listed | Searched | Ordered | Promoted, Field(discriminator="event")]


class Taken(BaseModel):
    """The answer."""

    accepted: int


def application(kafka: str, topic: str) -> FastAPI:
    """The door to one topic."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.producer = AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=5
        )
        await app.state.producer.start()
        yield
        await app.state.producer.stop()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/events", status_code=202)
    async def take(events: list[Event], request: Request) -> Taken:
        producer = request.app.state.producer
        sent = [
            await producer.send(topic, event.model_dump_json(exclude_none=True).encode(), event.userId.encode())
            for event in events
        ]
        await asyncio.gather(*sent)
        return Taken(accepted=len(events))

    return app


if __name__ == "__main__":
    uvicorn.run(application(*sys.argv[1:3]), port=int(sys.argv[3]), log_level="warning", access_log=False)
